"""The PyTorch side of tools/bench/optimizer.ts: one line of JSON in, one step's milliseconds out, until end of input.

Started with the number of parameters. A request is {"kind": "default" | "foreach" | "fused", "threads": n,
"clip": bool}; the answer {"ms": …}. Prints {"torch": version} first.
"""

import json
import sys
import time

import torch

count = int(sys.argv[1])
KINDS = {"default": {}, "foreach": {"foreach": True}, "fused": {"fused": True}}
# Twenty tensors, as a model has several; a single large one is no faster.
parameters = [torch.randn(count // 20).requires_grad_() for _ in range(20)]
for parameter in parameters:
    parameter.grad = torch.randn(parameter.shape) * 1e-2
optimizers = {
    name: torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.95), weight_decay=0.01, **options)
    for name, options in KINDS.items()
}
print(json.dumps({"torch": torch.__version__}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    torch.set_num_threads(request["threads"])
    optimizer = optimizers[request["kind"]]
    start = time.perf_counter()
    if request["clip"]:
        torch.nn.utils.clip_grad_norm_(parameters, 1e9)
    optimizer.step()
    print(json.dumps({"ms": (time.perf_counter() - start) * 1e3}), flush=True)
