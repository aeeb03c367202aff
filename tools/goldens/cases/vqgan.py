"""libs/vqgan/goldens: one whole training step (without LPIPS and without the optimisers' updates) of a tiny VQGAN.

The discriminator runs in training mode three times, in the order of a training step: on the reconstruction for the
generator's loss, then on the image, then on the reconstruction again.
"""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from golden_file import config_json, write
from models.vqgan import (
    PatchEncoderConfig,
    Vqgan,
    VqganConfig,
    adaptive_weight,
    adversarial_loss,
    hinge_discriminator_loss,
)
from randoms import Randoms, gradients, weights

BATCH = 2
ADVERSARIAL_WEIGHT = 0.8
TINY = VqganConfig(
    image_size=16,
    channels=4,
    multipliers=(1, 2),
    encoder_blocks=1,
    decoder_blocks=2,
    attention_resolutions=(8,),
    norm_groups=2,
    codebook_size=16,
    codebook_dim=8,
    discriminator_channels=4,
    discriminator_layers=2,
)
TINY_PATCH2 = VqganConfig(
    image_size=16,
    patch=2,
    channels=8,
    multipliers=(1, 1),
    encoder_blocks=1,
    decoder_blocks=2,
    attention_resolutions=(4,),
    norm_groups=4,
    codebook_size=16,
    codebook_dim=8,
    discriminator_channels=4,
    discriminator_layers=2,
)
TINY_PATCH_ENCODER = replace(TINY_PATCH2, patch_encoder=PatchEncoderConfig(width=12, blocks=2))


def require(name: str, margin: Tensor, least: float) -> None:
    """A float32 run must land on the same side of every choice: fail when a value lies too near to one."""
    if margin.min() < least:
        raise ValueError(f'{name}: margin {margin.min():.1e} is below {least:.0e}; take another seed')


def make_step(c: VqganConfig, seed: int, path: Path) -> None:
    randoms = Randoms(seed)
    model = Vqgan(c)
    # logits spread past ±1, so that the hinge is on for some patches and off for others
    randoms.fill(model, {'quantizer.embedding.weight': 0.5, 'discriminator.head.weight': 0.3})
    model.train()
    tensors = weights(model)
    discriminator = {f'discriminator.{name}': p for name, p in model.discriminator.named_parameters()}
    generator = {name: p for name, p in model.named_parameters() if name not in discriminator}

    image = randoms.uniform('image', (BATCH, c.image_channels, c.image_size, c.image_size), -1, 1)
    z = model.encoder(image)
    quantised, quantizer_loss, indices = model.quantizer(z)
    reconstruction = model.decoder(quantised)
    l1 = (image - reconstruction).abs().mean()
    fake = model.discriminator(reconstruction)
    adversarial = adversarial_loss(fake)
    weight = adaptive_weight(l1, adversarial, model.decoder.final[2].weight)
    total = l1 + quantizer_loss + weight * ADVERSARIAL_WEIGHT * adversarial

    tensors |= {'input.image': image, 'output.encoder': z, 'output.indices': indices, 'output.quantised': quantised}
    tensors |= {'output.reconstruction': reconstruction, 'output.logits_generator': fake}
    tensors |= {'loss.l1': l1, 'loss.quantizer': quantizer_loss, 'loss.adversarial': adversarial}
    tensors |= {'loss.adaptive_weight': weight, 'loss.total': total}
    tensors |= gradients(l1 + quantizer_loss, generator, 'grad')
    tensors |= gradients(total, generator, 'grad_total')
    tensors |= gradients(adversarial, {'reconstruction': reconstruction}, 'grad_adversarial')

    real_logits = model.discriminator(image)
    fake_logits = model.discriminator(reconstruction.detach())
    hinge = hinge_discriminator_loss(real_logits, fake_logits)
    tensors |= {'output.logits_real': real_logits, 'output.logits_fake': fake_logits, 'loss.hinge': hinge}
    tensors |= gradients(hinge, discriminator, 'grad_discriminator')
    buffers = model.discriminator.named_buffers()
    tensors |= {f'output.after.discriminator.{name}': value.clone() for name, value in buffers}

    nearest = model.quantizer.distances(z).sqrt().topk(2, largest=False).values
    require(f'{path.name} nearest code', nearest[..., 1] - nearest[..., 0], 1e-3)
    require(f'{path.name} L1', (image - reconstruction).abs(), 1e-5)
    require(f'{path.name} hinge', torch.cat(((1 - real_logits).abs(), (1 + fake_logits).abs())), 1e-3)
    for name, kept in (('real', real_logits < 1), ('fake', fake_logits > -1)):
        if kept.all() or not kept.any():
            raise ValueError(f'{path.name}: the hinge on the {name} logits has one side only; take another seed')
    if len(indices.unique()) < 4:
        raise ValueError(f'{path.name}: only {len(indices.unique())} codes in use; take another seed')
    metadata = {'config': config_json(c), 'adversarialWeight': str(ADVERSARIAL_WEIGHT)}
    write(path, tensors, metadata)


def make(libs: Path) -> None:
    make_step(TINY, 301, libs / 'vqgan/goldens/vqgan-tiny.safetensors')
    make_step(TINY_PATCH2, 312, libs / 'vqgan/goldens/vqgan-tiny-patch2.safetensors')
    make_step(TINY_PATCH_ENCODER, 321, libs / 'vqgan/goldens/vqgan-tiny-patch-encoder.safetensors')
