"""VQGAN (Esser et al. 2021) with the parameter names of the CLIP-GEN checkpoints, sizes by config.

`patch` is our extension: the image is folded by patch x patch into channels (pixel_unshuffle) before the encoder's
first convolution and unfolded (pixel_shuffle) after the decoder's last one; 1 is the published model. `patch_encoder`
is ours too: an encoder that sees one token's patch at a time instead of the published convolutional one.
Not here: the perceptual network and the training loop.
Letters: B batch, C channels, S image side, G grid side, K codebook size, D code width.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class PatchEncoderConfig:
    width: int
    blocks: int


@dataclass(frozen=True)
class VqganConfig:
    image_size: int = 256
    image_channels: int = 3
    patch: int = 1
    channels: int = 128
    multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    encoder_blocks: int = 2
    decoder_blocks: int = 3
    attention_resolutions: tuple[int, ...] = (16,)  # sides of the feature map, after folding
    norm_groups: int = 32
    codebook_size: int = 16384
    codebook_dim: int = 256
    commitment: float = 0.2  # weight of the loss that moves the codebook
    discriminator_channels: int = 64
    discriminator_layers: int = 3
    patch_encoder: PatchEncoderConfig | None = None

    @property
    def folded_channels(self) -> int:
        return self.image_channels * self.patch**2

    @property
    def token_side(self) -> int:
        """Side of a token's own patch in pixels."""
        return self.patch * 2 ** (len(self.multipliers) - 1)


def conv3(inputs: int, outputs: int, stride: int = 1, padding: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding)


class Upsample(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = conv3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))


class Downsample(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = conv3(channels, channels, stride=2, padding=0)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))  # one zero column right, one zero row below


class ResidualBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, groups: int):
        super().__init__()
        self.block = nn.Sequential(
            nn.GroupNorm(groups, inputs, eps=1e-5),
            nn.SiLU(),
            conv3(inputs, outputs),
            nn.GroupNorm(groups, outputs, eps=1e-5),
            nn.SiLU(),
            nn.Identity(),  # a dropout of rate 0 in the published model: it holds number 5
            conv3(outputs, outputs),
        )
        if inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.shortcut(x) if hasattr(self, 'shortcut') else x
        return skip + self.block(x)


class AttentionBlock(nn.Module):
    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-5)
        self.attn = nn.MultiheadAttention(channels, num_heads=1, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x).flatten(2).mT  # (B, G*G, C)
        out = self.attn(h, h, h, need_weights=False)[0]
        return x + out.mT.reshape(x.shape)


def middle(channels: int, groups: int) -> nn.Sequential:
    return nn.Sequential(
        ResidualBlock(channels, channels, groups),
        AttentionBlock(channels, groups),
        ResidualBlock(channels, channels, groups),
    )


def level(inputs: int, outputs: int, blocks: int, attend: bool, groups: int) -> list[nn.Module]:
    """Residual blocks of one resolution, each followed by attention where the config asks for it."""
    made: list[nn.Module] = []
    for n in range(blocks):
        made.append(ResidualBlock(outputs if n else inputs, outputs, groups))
        if attend:
            made.append(AttentionBlock(outputs, groups))
    return made


class Encoder(nn.Module):
    def __init__(self, c: VqganConfig):
        super().__init__()
        widths = [c.channels * m for m in c.multipliers]
        side, width, down = c.image_size // c.patch, c.channels, []
        for n, target in enumerate(widths):
            if n:
                down.append(Downsample(width))
                side //= 2
            down += level(width, target, c.encoder_blocks, side in c.attention_resolutions, c.norm_groups)
            width = target
        self.patch = c.patch
        self.conv_in = conv3(c.folded_channels, c.channels)
        self.down = nn.Sequential(*down)
        self.mid = middle(width, c.norm_groups)
        self.final = nn.Sequential(
            nn.GroupNorm(c.norm_groups, width, eps=1e-5),
            nn.SiLU(),
            conv3(width, c.codebook_dim),
            nn.Conv2d(c.codebook_dim, c.codebook_dim, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(F.pixel_unshuffle(x, self.patch))
        return self.final(self.mid(self.down(x)))  # (B, D, G, G)


class Perceptron(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-5)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fc2(F.gelu(self.fc1(self.norm(x))))


class PatchEncoder(nn.Module):
    """Each latent from its own patch of pixels alone."""

    def __init__(self, c: VqganConfig, sizes: PatchEncoderConfig):
        super().__init__()
        self.conv_in = nn.Conv2d(c.image_channels, sizes.width, c.token_side, c.token_side)
        self.blocks = nn.Sequential(*(Perceptron(sizes.width) for _ in range(sizes.blocks)))
        self.final = nn.Sequential(nn.LayerNorm(sizes.width, eps=1e-5), nn.Linear(sizes.width, c.codebook_dim))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x).permute(0, 2, 3, 1)  # (B, G, G, width)
        return self.final(self.blocks(x)).permute(0, 3, 1, 2)  # (B, D, G, G)


def make_encoder(c: VqganConfig) -> nn.Module:
    return PatchEncoder(c, c.patch_encoder) if c.patch_encoder else Encoder(c)


class Decoder(nn.Module):
    def __init__(self, c: VqganConfig):
        super().__init__()
        widths = [c.channels * m for m in reversed(c.multipliers)]
        side, width, up = c.image_size // c.patch // 2 ** (len(widths) - 1), widths[0], []
        for n, target in enumerate(widths):
            if n:
                up.append(Upsample(width))
                side *= 2
            up += level(width, target, c.decoder_blocks, side in c.attention_resolutions, c.norm_groups)
            width = target
        self.patch = c.patch
        self.quant_conv_in = nn.Conv2d(c.codebook_dim, c.codebook_dim, 1)
        self.conv_in = conv3(c.codebook_dim, widths[0])
        self.mid = middle(widths[0], c.norm_groups)
        self.up = nn.Sequential(*up)
        self.final = nn.Sequential(
            nn.GroupNorm(c.norm_groups, width, eps=1e-5), nn.SiLU(), conv3(width, c.folded_channels)
        )

    def forward(self, z: Tensor) -> Tensor:
        x = self.up(self.mid(self.conv_in(self.quant_conv_in(z))))
        return F.pixel_shuffle(self.final(x), self.patch)  # (B, 3, S, S)


class Quantizer(nn.Module):
    def __init__(self, c: VqganConfig):
        super().__init__()
        self.commitment = c.commitment
        self.embedding = nn.Embedding(c.codebook_size, c.codebook_dim)

    def distances(self, x: Tensor) -> Tensor:
        """(B, D, G, G) -> (B, G, G, K) squared Euclidean distances, by subtraction."""
        return (x.permute(0, 2, 3, 1)[..., None, :] - self.embedding.weight).square().sum(-1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Straight-through value (B, D, G, G), loss, indices (B, G, G)."""
        indices = self.distances(x).argmin(-1)
        rows = self.embedding(indices).permute(0, 3, 1, 2)
        loss = F.mse_loss(x, rows.detach()) + self.commitment * F.mse_loss(x.detach(), rows)
        return x + (rows - x).detach(), loss, indices


class Discriminator(nn.Module):
    """PatchGAN: one logit for each patch; a BatchNorm behind every convolution but the first and the last."""

    def __init__(self, c: VqganConfig):
        super().__init__()
        width = c.discriminator_channels
        layers: list[nn.Module] = [nn.Conv2d(c.image_channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for n in range(1, c.discriminator_layers + 1):
            target = c.discriminator_channels * min(2**n, 8)
            stride = 1 if n == c.discriminator_layers else 2
            layers += [
                nn.Conv2d(width, target, 4, stride, 1, bias=False),
                nn.BatchNorm2d(target, eps=1e-5, momentum=0.1),
                nn.LeakyReLU(0.2),
            ]
            width = target
        self.features = nn.Sequential(*layers)
        self.head = nn.Conv2d(width, 1, 4, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.features(image))  # (B, 1, h, w)


class Vqgan(nn.Module):
    def __init__(self, c: VqganConfig):
        super().__init__()
        self.encoder = make_encoder(c)
        self.decoder = Decoder(c)
        self.quantizer = Quantizer(c)
        self.discriminator = Discriminator(c)


def hinge_discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    return (F.relu(1 - real).mean() + F.relu(1 + fake).mean()) / 2


def adversarial_loss(fake: Tensor) -> Tensor:
    return -fake.mean()


def adaptive_weight(reconstruction: Tensor, adversarial: Tensor, last: Tensor) -> Tensor:
    """|d reconstruction / d last| / (|d adversarial / d last| + 1e-4), in [0, 1e4], carrying no gradient."""
    [by_recon] = torch.autograd.grad(reconstruction, last, retain_graph=True)
    [by_gan] = torch.autograd.grad(adversarial, last, retain_graph=True)
    return (by_recon.norm() / (by_gan.norm() + 1e-4)).clamp(0, 1e4).detach()
