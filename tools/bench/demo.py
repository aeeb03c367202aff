"""The PyTorch side of tools/bench/demo.ts: one line of JSON in, one of JSON out, until end of input.

Started with {"threads", "batch"}. Says {"torch"}. The models are those of tools/goldens/models at their released sizes,
untrained. Requests: {"length"}: a token for each of `batch` rows with `length` positions in the transformer, all of them
computed anew, as there is no cache; {"decode": true}: one grid to a picture; {"judge": true}: one picture to its CLIP
embedding; {"text": true}: one prompt. The answer is {"ms"}.
"""

import json
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "goldens"))
from models.clip import Clip, ClipConfig  # noqa: E402
from models.gpt import Gpt, GptConfig  # noqa: E402
from models.vqgan import Decoder, VqganConfig  # noqa: E402

asked = json.loads(sys.argv[1])
torch.set_num_threads(asked["threads"])
torch.manual_seed(1)
BATCH, TOP_K, TOP_P = asked["batch"], 500, 0.95
gpt, decoder, clip = Gpt(GptConfig()).eval(), Decoder(VqganConfig()).eval(), Clip(ClipConfig()).eval()
codebook = torch.randn(16384, 256)
condition = torch.nn.functional.normalize(torch.randn(BATCH, 512), dim=-1)


def draw(logits):
    """Top-k, then top-p of what is left: (B, V) -> (B)."""
    largest, index = logits.topk(TOP_K)
    shares = largest.softmax(-1)
    kept = shares.cumsum(-1) - shares < TOP_P
    return index.gather(1, torch.multinomial(shares * kept, 1))[:, 0]


def work(request):
    if "length" in request:
        tokens = torch.randint(16384, (BATCH, request["length"] - 1))
        return draw(gpt(tokens, condition)[:, -1])
    if "decode" in request:
        grid = torch.randint(16384, (1, 256))
        return decoder(codebook[grid].mT.reshape(1, 256, 16, 16).contiguous())
    if "judge" in request:
        return clip.encode_image(torch.randn(1, 3, 224, 224))
    return clip.encode_text(torch.randint(49408, (1, 77)))


print(json.dumps({"torch": torch.__version__}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    with torch.inference_mode():
        start = time.perf_counter()
        work(request)
        print(json.dumps({"ms": (time.perf_counter() - start) * 1e3}), flush=True)
