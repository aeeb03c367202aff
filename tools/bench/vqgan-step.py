"""The PyTorch side of tools/bench/vqgan-step.ts: one line of JSON in, one step's milliseconds out, until end of input.

Started with {"config", "weights", "threads"}: the weights' file holds the pictures too. A request is {"layout":
"contiguous" | "channels_last"}; the answer {"ms", "cpuMs", "loss", "norm"}. Prints {"torch": version} first. A step is
forward and backward of L1 + MSE + quantiser loss, without optimiser, on the model of tools/goldens/models/vqgan.py.
"""

import json
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "goldens"))
from models.vqgan import Decoder, PatchEncoderConfig, VqganConfig, make_encoder  # noqa: E402
from safetensors_reader import read  # noqa: E402

asked = json.loads(sys.argv[1])
torch.set_num_threads(asked["threads"])
sizes = asked["config"]
patches = sizes.get("patchEncoder")
config = VqganConfig(
    image_size=sizes["imageSize"],
    patch=sizes["patchSize"],
    channels=sizes["channels"],
    multipliers=tuple(sizes["multipliers"]),
    encoder_blocks=sizes["blocks"],
    decoder_blocks=sizes["blocks"] + 1,
    attention_resolutions=tuple(sizes["attentionSides"]),
    norm_groups=sizes["groups"],
    codebook_size=sizes["codebookSize"],
    codebook_dim=sizes["codeSize"],
    patch_encoder=PatchEncoderConfig(**patches) if patches else None,
)


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


class Autoencoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = make_encoder(config)
        self.quantizer = Nearest()
        self.decoder = Decoder(config)

    def forward(self, x):
        codes, quantizer_loss = self.quantizer(self.encoder(x))
        y = self.decoder(codes)
        return F.l1_loss(y, x) + F.mse_loss(y, x) + quantizer_loss


tensors = read(asked["weights"])
images = tensors.pop("images")


def build(memory_format):
    model = Autoencoder()
    model.load_state_dict(tensors)
    return model.to(memory_format=memory_format)


FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
models = {name: build(memory_format) for name, memory_format in FORMATS.items()}
print(json.dumps({"torch": torch.__version__}), flush=True)
for line in sys.stdin:
    layout = json.loads(line)["layout"]
    model = models[layout]
    x = images.contiguous(memory_format=FORMATS[layout])
    cpu, start = time.process_time(), time.perf_counter()
    model.zero_grad(set_to_none=True)
    loss = model(x)
    loss.backward()
    ms, cpu_ms = (time.perf_counter() - start) * 1e3, (time.process_time() - cpu) * 1e3
    norm = torch.stack([p.grad.double().square().sum() for p in model.parameters()]).sum().sqrt()
    print(json.dumps({"ms": ms, "cpuMs": cpu_ms, "loss": loss.item(), "norm": norm.item()}), flush=True)
