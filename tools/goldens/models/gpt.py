"""The conditional transformer: p(image tokens | CLIP embedding), one continuous condition in front of the tokens.

The condition takes position 0, tokens 0..T-2 take positions 1..T-1, and position t predicts token t.
Letters: B batch, T tokens (= block size), W width, V vocabulary.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class GptConfig:
    vocab_size: int = 16384
    layers: int = 24
    width: int = 1024
    heads: int = 16
    block_size: int = 256
    cond_dim: int = 512
    dropout: float = 0.1


class Block(nn.Module):
    def __init__(self, c: GptConfig):
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(
            c.width, c.heads, 4 * c.width, c.dropout, activation='gelu', batch_first=True, norm_first=True
        )
        # True above the diagonal: position t may not look at t+1..; saved with the weights
        self.register_buffer('mask', torch.ones(c.block_size, c.block_size, dtype=torch.bool).triu(1))

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        return self.encoder(x, src_mask=self.mask[:length, :length])


class Gpt(nn.Module):
    def __init__(self, c: GptConfig):
        super().__init__()
        self.pos_emb = nn.Parameter(torch.zeros(1, c.block_size, c.width))
        self.tok_emb = nn.Embedding(c.vocab_size, c.width)
        self.cond_proj = nn.Linear(c.cond_dim, c.width)
        self.drop = nn.Dropout(c.dropout)
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.layers))
        self.norm = nn.LayerNorm(c.width, eps=1e-5)
        self.head = nn.Linear(c.width, c.vocab_size)

    def forward(self, tokens: Tensor, condition: Tensor) -> Tensor:
        """tokens (B, L) with L < T, condition (B, cond_dim) -> logits (B, L + 1, V)."""
        x = torch.cat((self.cond_proj(condition)[:, None], self.tok_emb(tokens)), dim=1)
        x = self.drop(x + self.pos_emb[:, : x.shape[1]])
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def straight_through_rows(logits: Tensor, codebook: Tensor) -> Tensor:
    """Row argmax(logits) of the codebook (V, D) as value; the gradient is that of softmax(logits) @ codebook."""
    soft = logits.softmax(dim=-1)
    hard = torch.nn.functional.one_hot(logits.argmax(dim=-1), len(codebook)).to(soft)
    return (soft + (hard - soft).detach()) @ codebook
