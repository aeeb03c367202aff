"""libs/clip/goldens: features, the symmetric contrastive loss and every gradient of a tiny CLIP."""

from pathlib import Path

import torch

from golden_file import config_json, write
from models.clip import Clip, ClipConfig, contrastive_loss
from randoms import Randoms, gradients, weights

BATCH = 4
# The two towers differ in width, so that a mix-up shows as a shape error.
TINY = ClipConfig(
    embed_dim=16,
    image_size=16,
    patch_size=4,
    vision_width=24,
    vision_layers=2,
    vision_heads=2,
    context_length=12,
    vocab_size=64,
    text_width=16,
    text_layers=2,
    text_heads=2,
)


def captions(randoms: Randoms, c: ClipConfig) -> torch.Tensor:
    """Rows `start words end 0 0 …` of different lengths; start and end are the two largest ids."""
    words = randoms.integers('words', (BATCH, c.context_length), c.vocab_size - 3) + 1
    tokens = torch.zeros_like(words)
    for row, length in enumerate((2, 5, 7, c.context_length - 2)):
        tokens[row, 0] = c.vocab_size - 2
        tokens[row, 1 : 1 + length] = words[row, :length]
        tokens[row, 1 + length] = c.vocab_size - 1
    return tokens


def make(libs: Path) -> None:
    randoms = Randoms(101)
    model = Clip(TINY)
    randoms.fill(model, {'token_embedding.weight': 0.5, 'positional_embedding': 0.3, 'visual.class_embedding': 0.5})
    tensors = weights(model)

    image = randoms.normal('image', (BATCH, 3, TINY.image_size, TINY.image_size)).requires_grad_()
    tokens = captions(randoms, TINY)
    image_features, text_features = model.encode_image(image), model.encode_text(tokens)
    image_unit = image_features / image_features.norm(dim=1, keepdim=True)
    text_unit = text_features / text_features.norm(dim=1, keepdim=True)
    loss = contrastive_loss(image_unit, text_unit, model.logit_scale)

    tensors |= {'input.image': image, 'input.tokens': tokens, 'loss.contrastive': loss}
    tensors |= {
        'output.image_features': image_features,
        'output.text_features': text_features,
        'output.image_unit': image_unit,
        'output.text_unit': text_unit,
    }
    tensors |= gradients(loss, dict(model.named_parameters()), 'grad')
    tensors |= gradients(image_features.square().sum(), {'image': image}, 'input_grad')
    write(libs / 'clip/goldens/clip-tiny.safetensors', tensors, {'config': config_json(TINY)})
