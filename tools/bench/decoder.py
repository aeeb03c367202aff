"""The PyTorch side of tools/bench/decoder.ts: one line of JSON in, one picture's milliseconds out, until end of input.

Started with {"config", "weights", "threads"}: the weights' file holds `tokens` (1, T) too. A request is {"layout":
"contiguous" | "channels_last", "pixels": path or null}; the answer {"ms"}; where `pixels` names a file the picture is
written there as float32 (3, S, S). Prints {"torch": version} first. The model is that of tools/goldens/models/vqgan.py.
"""

import json
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "goldens"))
from models.vqgan import Decoder, VqganConfig  # noqa: E402
from safetensors_reader import read  # noqa: E402

asked = json.loads(sys.argv[1])
torch.set_num_threads(asked["threads"])
sizes = asked["config"]
config = VqganConfig(
    image_size=sizes["imageSize"],
    patch=sizes["patchSize"],
    channels=sizes["channels"],
    multipliers=tuple(sizes["multipliers"]),
    decoder_blocks=sizes["blocks"] + 1,
    attention_resolutions=tuple(sizes["attentionSides"]),
    norm_groups=sizes["groups"],
    codebook_size=sizes["codebookSize"],
    codebook_dim=sizes["codeSize"],
)
tensors = read(asked["weights"])
tokens = tensors["tokens"].long()
codebook = tensors["quantizer.embedding.weight"]
weights = {name.removeprefix("decoder."): t for name, t in tensors.items() if name.startswith("decoder.")}
side = sizes["imageSize"] // (sizes["patchSize"] * 2 ** (len(sizes["multipliers"]) - 1))


def build(memory_format):
    model = Decoder(config)
    model.load_state_dict(weights)
    return model.eval().to(memory_format=memory_format)


FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
models = {name: build(memory_format) for name, memory_format in FORMATS.items()}
print(json.dumps({"torch": torch.__version__}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    layout = request["layout"]
    with torch.inference_mode():
        start = time.perf_counter()
        codes = codebook[tokens].mT.reshape(1, -1, side, side).contiguous(memory_format=FORMATS[layout])
        pixels = models[layout](codes)
        ms = (time.perf_counter() - start) * 1e3
    if request["pixels"]:
        Path(request["pixels"]).write_bytes(pixels.contiguous().numpy().tobytes())
    print(json.dumps({"ms": ms}), flush=True)
