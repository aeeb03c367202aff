"""libs/gpt/goldens: logits, cross-entropy and gradients of a tiny GPT; the straight-through choice of codebook rows."""

import json
from pathlib import Path

import torch.nn.functional as F

from golden_file import config_json, write
from models.gpt import Gpt, GptConfig, straight_through_rows
from randoms import Randoms, gradients, weights

BATCH = 2
TINY = GptConfig(vocab_size=24, layers=2, width=32, heads=2, block_size=8, cond_dim=16, dropout=0.0)


def make_model(libs: Path) -> None:
    randoms = Randoms(201)
    model = Gpt(TINY)
    randoms.fill(model, {'pos_emb': 0.3, 'tok_emb.weight': 0.7})
    tensors = weights(model)

    condition = randoms.normal('condition', (BATCH, TINY.cond_dim))
    condition = F.normalize(condition, dim=1).float().double().requires_grad_()
    target = randoms.integers('target', (BATCH, TINY.block_size), TINY.vocab_size)
    tokens = target[:, :-1].contiguous()
    logits = model(tokens, condition)
    loss = F.cross_entropy(logits.flatten(0, 1), target.flatten())

    tensors |= {'input.condition': condition, 'input.tokens': tokens, 'input.target': target}
    tensors |= {'output.logits': logits, 'loss.cross_entropy': loss}
    tensors |= gradients(loss, dict(model.named_parameters()), 'grad')
    tensors |= gradients(loss, {'condition': condition}, 'input_grad')
    write(libs / 'gpt/goldens/gpt-tiny.safetensors', tensors, {'config': config_json(TINY)})


def make_straight_through(libs: Path) -> None:
    randoms = Randoms(202)
    logits = randoms.normal('logits', (2, 6, 10), 2.0).requires_grad_()
    codebook = randoms.normal('codebook', (10, 4)).requires_grad_()
    cotangent = randoms.normal('cotangent', (2, 6, 4))
    rows = straight_through_rows(logits, codebook)
    tensors = {'input.logits': logits, 'input.codebook': codebook, 'input.cotangent': cotangent, 'output.rows': rows}
    tensors |= gradients((rows * cotangent).sum(), {'logits': logits, 'codebook': codebook}, 'grad')
    config = json.dumps({'codebookSize': 10, 'codebookDim': 4})
    write(libs / 'gpt/goldens/straight-through.safetensors', tensors, {'config': config})


def make(libs: Path) -> None:
    make_model(libs)
    make_straight_through(libs)
