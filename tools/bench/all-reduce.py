"""The Gloo side of tools/bench/all-reduce.ts: one rank of torch.distributed, told by one line of JSON what to reduce.

Started with {"rank", "worldSize", "port", "threads"}. A request is {"elements": n}; the answer {"ms": …} of one
all-reduce after a barrier. Prints {"torch": version} first.
"""

import json
import os
import sys
import time

import torch
import torch.distributed as dist

options = json.loads(sys.argv[1])
torch.set_num_threads(options["threads"])
os.environ["MASTER_ADDR"] = "127.0.0.1"
os.environ["MASTER_PORT"] = str(options["port"])
os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
dist.init_process_group("gloo", rank=options["rank"], world_size=options["worldSize"])
print(json.dumps({"torch": torch.__version__}), flush=True)
tensors = {}
for line in sys.stdin:
    elements = json.loads(line)["elements"]
    tensor = tensors.setdefault(elements, torch.ones(elements))
    tensor.fill_(1)
    dist.barrier()
    start = time.perf_counter()
    dist.all_reduce(tensor)
    ms = (time.perf_counter() - start) * 1e3
    if tensor[0] != options["worldSize"] or tensor[-1] != options["worldSize"]:
        sys.exit("wrong sum")
    print(json.dumps({"ms": ms}), flush=True)
