"""The PyTorch side of tools/bench/clip.ts: one line of JSON in, one item's milliseconds out, until end of input.

Started with {"config", "weights", "threads"}: the weights' file holds `tokens` (1, context) and `pixels` (1, 3, S, S)
too. A request is {"tower": "text" | "image"}; the answer {"ms", "embedding"}: a unit vector. Prints {"torch": version}
first. The model is that of tools/goldens/models/clip.py.
"""

import json
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "goldens"))
from models.clip import Clip, ClipConfig  # noqa: E402
from safetensors_reader import read  # noqa: E402

asked = json.loads(sys.argv[1])
torch.set_num_threads(asked["threads"])
sizes = asked["config"]
vision, text = sizes["vision"], sizes["text"]
config = ClipConfig(
    embed_dim=sizes["embeddingSize"],
    image_size=vision["imageSize"],
    patch_size=vision["patchSize"],
    vision_width=vision["width"],
    vision_layers=vision["layers"],
    vision_heads=vision["heads"],
    context_length=text["contextLength"],
    vocab_size=text["vocabularySize"],
    text_width=text["width"],
    text_layers=text["layers"],
    text_heads=text["heads"],
)
tensors = read(asked["weights"])
tokens, pixels = tensors.pop("tokens"), tensors.pop("pixels")
model = Clip(config)
model.load_state_dict(tensors)
model.eval()
print(json.dumps({"torch": torch.__version__}), flush=True)
for line in sys.stdin:
    tower = json.loads(line)["tower"]
    with torch.inference_mode():
        start = time.perf_counter()
        features = model.encode_text(tokens) if tower == "text" else model.encode_image(pixels)
        embedding = F.normalize(features, dim=-1)
        ms = (time.perf_counter() - start) * 1e3
    print(json.dumps({"ms": ms, "embedding": embedding[0].tolist()}), flush=True)
