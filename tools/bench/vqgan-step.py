"""The PyTorch side of tools/bench/vqgan-step.ts: one line of JSON in, one step's milliseconds out, until end of input.

Started with the model's configuration as JSON. A request is {"layout": "contiguous" | "channels_last"}; the answer
{"ms": …, "cpuMs": …}. Prints {"torch": version, "parameters": count} first. A step is forward and backward of L1 + MSE + quantiser
loss, without optimiser, on the model of tools/goldens/models/vqgan.py.
"""

import json
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "goldens"))
from models.vqgan import Decoder, Encoder, VqganConfig  # noqa: E402

asked = json.loads(sys.argv[1])
torch.set_num_threads(asked["threads"])
config = VqganConfig(**{name: tuple(v) if isinstance(v, list) else v for name, v in asked["config"].items()})


class Nearest(torch.nn.Module):
    """Quantiser by one matrix product instead of the golden model's subtraction: the faster way for a step."""

    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(config.codebook_size, config.codebook_dim)

    def forward(self, z):
        x = z.permute(0, 2, 3, 1).reshape(-1, config.codebook_dim)
        table = self.embedding.weight
        with torch.no_grad():
            index = torch.addmm(table.square().sum(1), x, table.T, alpha=-2).argmin(1)
        rows = self.embedding(index).view(z.shape[0], *z.shape[2:], -1).permute(0, 3, 1, 2)
        loss = F.mse_loss(z, rows.detach()) + config.commitment * F.mse_loss(z.detach(), rows)
        return z + (rows - z).detach(), loss


def build(memory_format):
    torch.manual_seed(1)
    return torch.nn.ModuleList([Encoder(config), Nearest(), Decoder(config)]).to(memory_format=memory_format)


FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
models = {name: build(memory_format) for name, memory_format in FORMATS.items()}
images = torch.rand(asked["batch"], config.image_channels, config.image_size, config.image_size) * 2 - 1
count = sum(p.numel() for p in models["contiguous"].parameters())
print(json.dumps({"torch": torch.__version__, "parameters": count}), flush=True)
for line in sys.stdin:
    layout = json.loads(line)["layout"]
    encoder, quantizer, decoder = model = models[layout]
    x = images.contiguous(memory_format=FORMATS[layout])
    cpu, start = time.process_time(), time.perf_counter()
    model.zero_grad(set_to_none=True)
    codes, quantizer_loss = quantizer(encoder(x))
    y = decoder(codes)
    (F.l1_loss(y, x) + F.mse_loss(y, x) + quantizer_loss).backward()
    print(json.dumps({"ms": (time.perf_counter() - start) * 1e3, "cpuMs": (time.process_time() - cpu) * 1e3}), flush=True)
