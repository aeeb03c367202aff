"""The PyTorch side of tools/bench/gpt-step.ts: one line of JSON in, one step's milliseconds out, until end of input.

Started with {"config", "weights", "threads"}: the weights' file holds the batch too. A request is {"variant": name};
the answer {"ms", "loss", "norm"}. A step is forward, cross-entropy and backward, without optimiser, on the model of
tools/goldens/models/gpt.py without dropout. Variants compute the same:

layers    the model as it is, of nn.TransformerEncoderLayer
packed    the same weights, one product for q, k and v, scaled_dot_product_attention(is_causal=True)
explicit  packed, attention by matmul, softmax and matmul
compiled  packed, by torch.compile (its first call compiles for a minute)
"""

import json
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "goldens"))
from models.gpt import Gpt, GptConfig  # noqa: E402
from safetensors_reader import read  # noqa: E402

asked = json.loads(sys.argv[1])
torch.set_num_threads(asked["threads"])
sizes = asked["config"]
config = GptConfig(
    vocab_size=sizes["vocabularySize"],
    layers=sizes["layers"],
    width=sizes["width"],
    heads=sizes["heads"],
    block_size=sizes["tokens"],
    cond_dim=sizes["conditionSize"],
    dropout=0.0,
)
tensors = read(asked["weights"])
tokens, condition = tensors.pop("tokens"), tensors.pop("condition")
model = Gpt(config)
problems = model.load_state_dict(tensors, strict=False)
if problems.unexpected_keys or any(not name.endswith(".mask") for name in problems.missing_keys):
    raise SystemExit(f"the weights are not this model's: {problems}")
hidden = torch.ones(config.block_size, config.block_size, dtype=torch.bool).triu(1)


def sdpa(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def explicit(q, k, v):
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    return scores.masked_fill(hidden, float("-inf")).softmax(-1) @ v


def packed(attend, tokens, condition):
    x = torch.cat((model.cond_proj(condition)[:, None], model.tok_emb(tokens)), dim=1) + model.pos_emb
    for block in model.blocks:
        layer = block.encoder
        attention = layer.self_attn
        qkv = F.linear(layer.norm1(x), attention.in_proj_weight, attention.in_proj_bias)
        q, k, v = qkv.view(*x.shape[:2], 3, config.heads, -1).permute(2, 0, 3, 1, 4)
        x = x + attention.out_proj(attend(q, k, v).transpose(1, 2).reshape(x.shape))
        x = x + layer.linear2(F.gelu(layer.linear1(layer.norm2(x))))
    return model.head(model.norm(x))


VARIANTS = {
    "layers": model,
    "packed": lambda *batch: packed(sdpa, *batch),
    "explicit": lambda *batch: packed(explicit, *batch),
    "compiled": torch.compile(lambda *batch: packed(sdpa, *batch)),
}
print(json.dumps({"torch": torch.__version__}), flush=True)
for line in sys.stdin:
    forward = VARIANTS[json.loads(line)["variant"]]
    start = time.perf_counter()
    model.zero_grad(set_to_none=True)
    logits = forward(tokens[:, :-1], condition)
    loss = F.cross_entropy(logits.flatten(0, 1), tokens.flatten())
    loss.backward()
    ms = (time.perf_counter() - start) * 1e3
    norm = torch.stack([p.grad.double().square().sum() for p in model.parameters()]).sum().sqrt()
    print(json.dumps({"ms": ms, "loss": loss.item(), "norm": norm.item()}), flush=True)
