"""CLIP (Radford et al. 2021): a vision transformer and a causal text transformer that share one embedding space.

Parameter names and shapes are those of the published ViT checkpoints, so one state dict fits both.
Not here: the ResNet image encoders, half precision, image preprocessing.
Letters: B batch, T tokens, P patches, W width, E embedding.
"""

from dataclasses import dataclass
from math import log

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class ClipConfig:
    embed_dim: int = 512
    image_size: int = 224
    patch_size: int = 32
    vision_width: int = 768
    vision_layers: int = 12
    vision_heads: int = 12  # 64 channels a head in the published models
    context_length: int = 77
    vocab_size: int = 49408
    text_width: int = 512
    text_layers: int = 12
    text_heads: int = 8


def quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


class Mlp(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(quick_gelu(self.c_fc(x)))


class ResidualAttentionBlock(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps=1e-5)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width, eps=1e-5)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        h = self.ln_1(x)
        x = x + self.attn(h, h, h, attn_mask=mask, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, width: int, layers: int, heads: int):
        super().__init__()
        self.resblocks = nn.ModuleList(ResidualAttentionBlock(width, heads) for _ in range(layers))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for block in self.resblocks:
            x = block(x, mask)
        return x


class VisionTransformer(nn.Module):
    def __init__(self, c: ClipConfig):
        super().__init__()
        width, positions = c.vision_width, (c.image_size // c.patch_size) ** 2 + 1
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.positional_embedding = nn.Parameter(torch.zeros(positions, width))
        self.proj = nn.Parameter(torch.zeros(width, c.embed_dim))
        self.conv1 = nn.Conv2d(3, width, c.patch_size, stride=c.patch_size, bias=False)
        self.ln_pre = nn.LayerNorm(width, eps=1e-5)
        self.transformer = Transformer(width, c.vision_layers, c.vision_heads)
        self.ln_post = nn.LayerNorm(width, eps=1e-5)

    def forward(self, image: Tensor) -> Tensor:
        patches = self.conv1(image).flatten(2).mT  # (B, P, W), row-major over the grid
        first = self.class_embedding.expand(image.shape[0], 1, -1)  # (B, 1, W)
        x = torch.cat((first, patches), dim=1) + self.positional_embedding
        x = self.transformer(self.ln_pre(x))
        return self.ln_post(x[:, 0]) @ self.proj  # (B, E)


class Clip(nn.Module):
    def __init__(self, c: ClipConfig):
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.zeros(c.context_length, c.text_width))
        self.text_projection = nn.Parameter(torch.zeros(c.text_width, c.embed_dim))
        self.logit_scale = nn.Parameter(torch.tensor(log(1 / 0.07)))
        self.visual = VisionTransformer(c)
        self.transformer = Transformer(c.text_width, c.text_layers, c.text_heads)
        self.token_embedding = nn.Embedding(c.vocab_size, c.text_width)
        self.ln_final = nn.LayerNorm(c.text_width, eps=1e-5)

    def encode_image(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) normalised pixels -> (B, E), not normalised."""
        return self.visual(image)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """(B, context) int64 -> (B, E), not normalised; read at the first position of the largest token id."""
        length = tokens.shape[1]
        future = torch.ones(length, length, dtype=torch.bool).triu(1)  # True: may not look
        x = self.token_embedding(tokens) + self.positional_embedding
        x = self.ln_final(self.transformer(x, future))  # (B, T, W)
        end = tokens.argmax(dim=1)
        return x[torch.arange(len(tokens)), end] @ self.text_projection


def contrastive_loss(image: Tensor, text: Tensor, logit_scale: Tensor) -> Tensor:
    """Mean of the cross-entropies image->text and text->image; both inputs (B, E) of unit length."""
    logits = logit_scale.exp() * image @ text.T  # (B, B)
    target = torch.arange(len(image))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
