"""VQGAN with the parameter names of taming-transformers and latent-diffusion, with either quantiser.

GroupNorm's epsilon is 1e-6; attention is made of 1x1 convolutions; levels are numbered finest first on both sides.
Letters: B batch, C channels, K codebook size.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class TamingConfig:
    resolution: int = 256
    ch: int = 128
    ch_mult: tuple[int, ...] = (1, 1, 2, 2, 4)
    num_res_blocks: int = 2
    attn_resolutions: tuple[int, ...] = (16,)
    z_channels: int = 256
    embed_dim: int = 256
    n_embed: int = 1024
    gumbel: bool = False
    groups: int = 32  # not an option there; smaller in small goldens

    def settings(self) -> str:
        """The YAML that comes with a checkpoint, in what matters."""
        target = 'GumbelVQ' if self.gumbel else 'VQModel'
        mult = ''.join(f'\n      - {m}' for m in self.ch_mult)
        sides = ''.join(f'\n      - {s}' for s in self.attn_resolutions) or ' []'
        return (
            f'model:\n  base_learning_rate: 4.5e-06\n  target: taming.models.vqgan.{target}\n  params:\n'
            f'    embed_dim: {self.embed_dim}\n    n_embed: {self.n_embed}\n    ddconfig:\n      double_z: false\n'
            f'      z_channels: {self.z_channels}\n      resolution: {self.resolution}\n      in_channels: 3\n'
            f'      out_ch: 3\n      ch: {self.ch}\n      ch_mult:{mult}\n      num_res_blocks: {self.num_res_blocks}\n'
            f'      attn_resolutions:{sides}\n      dropout: 0.0\n    lossconfig:\n'
            '      target: taming.modules.losses.vqperceptual.VQLPIPSWithDiscriminator\n'
        )


class ResnetBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, groups: int):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, inputs, eps=1e-6)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, outputs, eps=1e-6)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        if inputs != outputs:
            self.nin_shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        return (self.nin_shortcut(x) if hasattr(self, 'nin_shortcut') else x) + h


class AttnBlock(nn.Module):
    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (p(h).flatten(2) for p in (self.q, self.k, self.v))  # (B, C, H*W)
        weights = ((q.mT @ k) * x.shape[1] ** -0.5).softmax(dim=-1)  # (B, queries, keys)
        return x + self.proj_out((v @ weights.mT).reshape(x.shape))


class Downsample(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode='nearest'))


class Level(nn.Module):
    def __init__(self, inputs: int, outputs: int, blocks: int, attends: bool, groups: int):
        super().__init__()
        self.block = nn.ModuleList(ResnetBlock(outputs if i else inputs, outputs, groups) for i in range(blocks))
        self.attn = nn.ModuleList(AttnBlock(outputs, groups) for _ in range(blocks if attends else 0))

    def forward(self, x: Tensor) -> Tensor:
        for i, block in enumerate(self.block):
            x = block(x)
            if self.attn:
                x = self.attn[i](x)
        return x


class Middle(nn.Module):
    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels, groups)
        self.attn_1 = AttnBlock(channels, groups)
        self.block_2 = ResnetBlock(channels, channels, groups)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class Encoder(nn.Module):
    def __init__(self, c: TamingConfig):
        super().__init__()
        self.conv_in = nn.Conv2d(3, c.ch, 3, padding=1)
        self.down = nn.ModuleList()
        width, side = c.ch, c.resolution
        for index, mult in enumerate(c.ch_mult):
            level = Level(width, c.ch * mult, c.num_res_blocks, side in c.attn_resolutions, c.groups)
            width = c.ch * mult
            if index < len(c.ch_mult) - 1:
                level.downsample = Downsample(width)
                side //= 2
            self.down.append(level)
        self.mid = Middle(width, c.groups)
        self.norm_out = nn.GroupNorm(c.groups, width, eps=1e-6)
        self.conv_out = nn.Conv2d(width, c.z_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
            if hasattr(level, 'downsample'):
                x = level.downsample(x)
        return self.conv_out(F.silu(self.norm_out(self.mid(x))))


class Decoder(nn.Module):
    def __init__(self, c: TamingConfig):
        super().__init__()
        levels: list[Level] = []
        width, side = c.ch * c.ch_mult[-1], c.resolution // 2 ** (len(c.ch_mult) - 1)
        self.conv_in = nn.Conv2d(c.z_channels, width, 3, padding=1)
        self.mid = Middle(width, c.groups)
        for index in reversed(range(len(c.ch_mult))):
            target = c.ch * c.ch_mult[index]
            level = Level(width, target, c.num_res_blocks + 1, side in c.attn_resolutions, c.groups)
            width = target
            if index > 0:
                level.upsample = Upsample(width)
                side *= 2
            levels.insert(0, level)
        self.up = nn.ModuleList(levels)
        self.norm_out = nn.GroupNorm(c.groups, width, eps=1e-6)
        self.conv_out = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.mid(self.conv_in(z))
        for level in reversed(self.up):
            x = level(x)
            if hasattr(level, 'upsample'):
                x = level.upsample(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class NearestQuantizer(nn.Module):
    def __init__(self, c: TamingConfig):
        super().__init__()
        self.embedding = nn.Embedding(c.n_embed, c.embed_dim)

    def scores(self, z: Tensor) -> Tensor:
        """(B, D, H, W) -> (B, H, W, K), the largest is chosen."""
        rows, codes = z.permute(0, 2, 3, 1), self.embedding.weight
        return 2 * rows @ codes.T - codes.square().sum(-1) - rows.square().sum(-1, keepdim=True)

    def codes(self, tokens: Tensor) -> Tensor:
        return self.embedding(tokens).permute(0, 3, 1, 2)


class GumbelQuantizer(nn.Module):
    def __init__(self, c: TamingConfig):
        super().__init__()
        self.proj = nn.Conv2d(c.z_channels, c.n_embed, 1)
        self.embed = nn.Embedding(c.n_embed, c.embed_dim)

    def scores(self, z: Tensor) -> Tensor:
        return self.proj(z).permute(0, 2, 3, 1)

    def codes(self, tokens: Tensor) -> Tensor:
        return self.embed(tokens).permute(0, 3, 1, 2)


class TamingVqgan(nn.Module):
    def __init__(self, c: TamingConfig):
        super().__init__()
        self.encoder = Encoder(c)
        self.decoder = Decoder(c)
        self.quantize = GumbelQuantizer(c) if c.gumbel else NearestQuantizer(c)
        self.quant_conv = nn.Conv2d(c.z_channels, c.embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(c.embed_dim, c.z_channels, 1)

    def scores(self, pixels: Tensor) -> Tensor:
        return self.quantize.scores(self.quant_conv(self.encoder(pixels)))

    def decode(self, tokens: Tensor) -> Tensor:
        """(B, H, W) -> (B, 3, S, S)"""
        return self.decoder(self.post_quant_conv(self.quantize.codes(tokens)))
