"""The PyTorch side of tools/bench/decode.ts: one line of JSON in, one of JSON out, until end of input.

Started with {"config", "weights", "threads", "bandwidthBytes"}. Says {"torch"}. To {"bandwidth"} it says
{"bytesPerSecond"}: the better of two sums over bandwidthBytes of float32. Any other request is {"batch", "position", "steps", "variant", "topK", "condition"}:
`steps` tokens a row from `position` on (0 starts anew, with `condition` for every row); the answer {"ms": [each step],
"tokens": [each step's, row 0]}. topK 1 takes the likeliest. Attention over a preallocated cache: `sdpa` by
scaled_dot_product_attention, `matmul` by two products and a softmax; `static` over the whole cache with a mask, so that
every step has the same shapes.
"""

import json
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from safetensors_reader import read

asked = json.loads(sys.argv[1])
torch.set_num_threads(asked["threads"])
torch.manual_seed(1)
sizes = asked["config"]
HEADS, LAYERS, WIDTH, TOKENS = sizes["heads"], sizes["layers"], sizes["width"], sizes["tokens"]
SIZE = WIDTH // HEADS
weights = read(asked["weights"])


ones = torch.ones(asked["bandwidthBytes"] // 4)


def read_bandwidth():
    """Bytes a second of reading `ones` once, the better of two."""
    times = []
    for _ in range(2):
        start = time.perf_counter()
        ones.sum()
        times.append(time.perf_counter() - start)
    return asked["bandwidthBytes"] / min(times)


class Layer:
    def __init__(self, prefix):
        def pair(name):
            return weights[f"{prefix}.{name}weight"], weights[f"{prefix}.{name}bias"]

        self.norm1, self.norm2 = pair("norm1."), pair("norm2.")
        self.qkv, self.out = pair("self_attn.in_proj_"), pair("self_attn.out_proj.")
        self.up, self.down = pair("linear1."), pair("linear2.")


layers = [Layer(f"blocks.{i}.encoder") for i in range(LAYERS)]


def attend(variant, q, keys, values, position):
    if variant == "static":
        seen = torch.arange(TOKENS) <= position
        return F.scaled_dot_product_attention(q, keys, values, attn_mask=seen.expand(1, 1, 1, TOKENS))
    keys, values = keys[:, :, : position + 1], values[:, :, : position + 1]
    if variant == "sdpa":
        return F.scaled_dot_product_attention(q, keys, values)
    return ((q * SIZE**-0.5) @ keys.transpose(-1, -2)).softmax(-1) @ values


def norm(x, pair):
    return F.layer_norm(x, (WIDTH,), *pair)


def step(variant, cache, first, token, position):
    """(B, V) logits of `position`; `first` (B, W) stands at position 0, `token` (B) after it."""
    x = first if position == 0 else weights["tok_emb.weight"][token]
    x = x + weights["pos_emb"][0, position]
    batch = x.shape[0]
    for layer, (keys, values) in zip(layers, cache):
        q, k, v = F.linear(norm(x, layer.norm1), *layer.qkv).view(batch, 3, HEADS, 1, SIZE).unbind(1)
        keys[:, :, position : position + 1] = k
        values[:, :, position : position + 1] = v
        x = x + F.linear(attend(variant, q, keys, values, position).reshape(batch, WIDTH), *layer.out)
        x = x + F.linear(F.gelu(F.linear(norm(x, layer.norm2), *layer.up)), *layer.down)
    x = norm(x, (weights["norm.weight"], weights["norm.bias"]))
    return F.linear(x, weights["head.weight"], weights["head.bias"])


def draw(logits, top_k):
    if top_k == 1:
        return logits.argmax(-1)
    largest, index = logits.topk(top_k)
    return index.gather(1, torch.multinomial(largest.softmax(-1), 1))[:, 0]


print(json.dumps({"torch": torch.__version__}), flush=True)
caches, tokens = {}, {}
for line in sys.stdin:
    request = json.loads(line)
    if "bandwidth" in request:
        print(json.dumps({"bytesPerSecond": read_bandwidth()}), flush=True)
        continue
    batch, variant = request["batch"], request["variant"]
    with torch.inference_mode():
        if batch not in caches:
            caches[batch] = [torch.zeros(2, batch, HEADS, TOKENS, SIZE) for _ in range(LAYERS)]
        condition = torch.tensor(request["condition"]).expand(batch, -1)
        times, drawn = [], []
        for position in range(request["position"], request["position"] + request["steps"]):
            start = time.perf_counter()
            first = F.linear(condition, weights["cond_proj.weight"], weights["cond_proj.bias"]) if position == 0 else None
            logits = step(variant, caches[batch], first, tokens.get(batch), position)
            tokens[batch] = draw(logits, request["topK"])
            drawn.append(tokens[batch][0].item())
            times.append((time.perf_counter() - start) * 1e3)
    print(json.dumps({"ms": times, "tokens": drawn}), flush=True)
