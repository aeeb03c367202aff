"""Ten steps of torch.optim.AdamW and Adam, float32: writes libs/optimizer/goldens/adamw.json.

    python3 tools/goldens/optimizer.py

The file holds, for each case, the options, the parameters before, ten gradients, and values and moments after steps
1 and 10. Numbers are float32 printed in full.
"""

import json
import pathlib

import torch

TARGET = pathlib.Path(__file__).resolve().parents[2] / "libs/optimizer/goldens/adamw.json"
SHAPES = {"weight": [5, 7], "bias": [19]}  # neither is a whole number of SIMD vectors
CASES = [
    # gradientScale multiplies the gradients before the optimiser sees them
    {"name": "gpt", "beta1": 0.9, "beta2": 0.95, "epsilon": 1e-8, "weightDecay": 0.01, "gradientScale": 1.0},
    {"name": "vqgan", "beta1": 0.5, "beta2": 0.9, "epsilon": 1e-8, "weightDecay": 0.0, "gradientScale": 0.25},
    {"name": "torch-default", "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-3, "weightDecay": 0.1, "gradientScale": 1.0},
]


def listed(tensors):
    return {name: t.detach().flatten().tolist() for name, t in tensors.items()}


def run(case, generator):
    parameters = {name: torch.randn(shape, generator=generator).requires_grad_() for name, shape in SHAPES.items()}
    groups = [
        {"params": [parameters["weight"]], "weight_decay": case["weightDecay"]},
        {"params": [parameters["bias"]], "weight_decay": 0.0},
    ]
    kind = torch.optim.AdamW if case["weightDecay"] > 0 else torch.optim.Adam
    optimizer = kind(groups, betas=(case["beta1"], case["beta2"]), eps=case["epsilon"], foreach=False)
    out = {**case, "initial": listed(parameters), "steps": []}
    for step in range(1, 11):
        rate = 1e-2 / step
        gradients = {name: torch.randn(shape, generator=generator) * 10.0 ** (step - 8) for name, shape in SHAPES.items()}
        for name, parameter in parameters.items():
            parameter.grad = gradients[name] * case["gradientScale"]
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        entry = {"learningRate": rate, "gradients": listed(gradients)}
        if step in (1, 10):
            state = {name: optimizer.state[p] for name, p in parameters.items()}
            entry["values"] = listed(parameters)
            entry["firstMoments"] = listed({name: s["exp_avg"] for name, s in state.items()})
            entry["secondMoments"] = listed({name: s["exp_avg_sq"] for name, s in state.items()})
        out["steps"].append(entry)
    return out


def shortened(value):
    """The shortest decimals that give the same float32 again."""
    if isinstance(value, dict):
        return {key: shortened(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shortened(inner) for inner in value]
    if isinstance(value, float):
        return float(f"{value:.9g}")
    return value


generator = torch.Generator().manual_seed(1)
cases = [run(case, generator) for case in CASES]
TARGET.parent.mkdir(exist_ok=True)
TARGET.write_text(json.dumps({"shapes": SHAPES, "cases": shortened(cases)}) + "\n")
