"""The Gloo side of tools/bench/all-reduce.ts: one rank of torch.distributed, told by one line of JSON what to reduce.

Started with {"rank", "worldSize", "port", "threads"}, perhaps "cores" to keep to. A request is {"elements": n, "repeats": k};
the answer {"ms": ...} of one of k all-reduces in place, one after the other, after a barrier. Prints {"torch": version}
first.
"""

import json
import os
import sys
import time

import torch
import torch.distributed as dist

options = json.loads(sys.argv[1])
if options.get("cores"):
    os.sched_setaffinity(0, options["cores"])  # threads that are started later keep to them too
torch.set_num_threads(options["threads"])
os.environ["MASTER_ADDR"] = "127.0.0.1"
os.environ["MASTER_PORT"] = str(options["port"])
os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
dist.init_process_group("gloo", rank=options["rank"], world_size=options["worldSize"])
print(json.dumps({"torch": torch.__version__}), flush=True)
tensors = {}
for line in sys.stdin:
    request = json.loads(line)
    elements, repeats = request["elements"], request["repeats"]
    tensor = tensors.setdefault(elements, torch.ones(elements))
    tensor.fill_(1)
    dist.barrier()
    start = time.perf_counter()
    for _ in range(repeats):
        dist.all_reduce(tensor)
    ms = (time.perf_counter() - start) * 1e3 / repeats
    dist.barrier()  # checking takes a core, which who is not through yet may need
    wanted = float(options["worldSize"]) ** repeats
    if not (tensor.min() >= wanted * (1 - 1e-5) and tensor.max() <= wanted * (1 + 1e-5)):
        sys.exit("wrong sum")
    print(json.dumps({"ms": ms}), flush=True)
