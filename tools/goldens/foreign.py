"""Checkpoints of other programs with random weights, and what PyTorch computes with them.

    python tools/goldens/foreign.py                      the small ones, tools/goldens/checkpoints/
    python tools/goldens/foreign.py --full DIR [CASE]    the published sizes, or one of them, into DIR
    python tools/goldens/foreign.py --names              names and shapes of the published sizes, without weights

Each case is a checkpoint as its program writes it, and `CASE.expected.safetensors`: inputs, outputs, and as metadata the
import command's kind, files and options. Outputs are of the stored weights: halves are widened first.
"""

import argparse
import gzip
import json
import sys
from collections import OrderedDict
from dataclasses import dataclass, replace
from math import prod, sqrt
from pathlib import Path
from typing import Callable

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.dont_write_bytecode = True

from foreign.hugging_face_clip import HuggingFaceClip, settings  # noqa: E402
from foreign.taming_vqgan import TamingConfig, TamingVqgan  # noqa: E402
from models.clip import Clip, ClipConfig  # noqa: E402
from models.gpt import Gpt, GptConfig  # noqa: E402
from models.lpips import VGG16_CHANNELS, Lpips  # noqa: E402
from models.preview import Preview, PreviewConfig  # noqa: E402
from models.vqgan import Vqgan, VqganConfig  # noqa: E402


@dataclass
class Output:
    folder: Path
    case: str
    full: bool

    def path(self, ending: str) -> Path:
        return self.folder / f'{self.case}{ending}'

    def expected(self, kind: str, file: Path, tensors: dict[str, Tensor], options: dict | None = None) -> None:
        """`options` are those of the import; paths among them are names beside the checkpoint."""
        stored = {n: (t.float() if t.is_floating_point() else t).contiguous() for n, t in tensors.items()}
        for name, value in stored.items():
            if not value.isfinite().all():
                raise ValueError(f'{self.case}: {name} is not finite')
        metadata = {'kind': kind, 'file': file.name, 'options': json.dumps(options or {})}
        save_file(stored, self.path('.expected.safetensors'), metadata)
        print(f'{self.case}: {file.stat().st_size / 2**20:.2f} MiB', flush=True)


def fill(model: nn.Module, seed: int, dtype: torch.dtype) -> None:
    """Random weights that keep activations near 1, rounded to `dtype`; nothing is left at 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if not value.is_floating_point():
                continue
            new = torch.randn(value.shape, generator=generator)
            if name.endswith('running_var'):
                new = new.abs() + 0.5
            elif value.ndim == 0:
                new = value
            elif value.ndim == 1 and name.endswith('.weight'):
                new = 1 + 0.2 * new
            elif value.ndim == 1:
                new = 0.1 * new
            else:
                new = new / sqrt(prod(value.shape[1:]))
            value.copy_(new.to(dtype))


def exact(model: nn.Module, full: bool) -> nn.Module:
    """For the expected values: float64 where it is affordable."""
    return model.eval().float() if full else model.eval().double()


def random(shape: tuple[int, ...], full: bool, seed: int = 1) -> Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return values if full else values.double()


def integers(shape: tuple[int, ...], high: int, seed: int = 2) -> Tensor:
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(seed))


# CLIP


def clip_values(model: nn.Module, c: ClipConfig, full: bool) -> dict[str, Tensor]:
    pixels = random((2, 3, c.image_size, c.image_size), full)
    tokens = integers((2, c.context_length), c.vocab_size)
    with torch.no_grad():
        image, text = model.encode_image(pixels), model.encode_text(tokens)
    return {'input.pixels': pixels, 'input.tokens': tokens, 'output.image': image, 'output.text': text}


TINY_CLIP = ClipConfig(
    embed_dim=8,
    image_size=16,
    patch_size=8,
    vision_width=16,
    vision_layers=2,
    vision_heads=2,
    context_length=8,
    vocab_size=40,
    text_width=24,
    text_layers=1,
    text_heads=3,
)
B16 = replace(ClipConfig(), patch_size=16)
L14 = replace(
    ClipConfig(),
    embed_dim=768,
    patch_size=14,
    vision_width=1024,
    vision_layers=24,
    vision_heads=16,
    text_width=768,
    text_heads=12,
)


class Scripted(Clip):
    """As OpenAI's archives are: a module with the weights of both towers, and three numbers among its attributes."""

    def __init__(self, c: ClipConfig):
        super().__init__(c)
        self.register_buffer('input_resolution', torch.tensor(c.image_size))
        self.register_buffer('context_length', torch.tensor(c.context_length))
        self.register_buffer('vocab_size', torch.tensor(c.vocab_size))

    def forward(self, pixels: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        return self.encode_image(pixels), self.encode_text(tokens)


def halve(model: nn.Module) -> None:
    """Matrices, convolutions and projections in float16, norms and tables as they are: OpenAI's own choice."""
    halved = ('conv1.weight', 'proj_weight', 'proj_bias', 'proj.weight', 'proj.bias', 'c_fc.weight', 'c_fc.bias')
    for name, parameter in model.named_parameters():
        if name.endswith(halved) or name in ('text_projection', 'visual.proj'):
            parameter.data = parameter.data.half()


def clip_scripted(out: Output) -> None:
    c = ClipConfig() if out.full else replace(TINY_CLIP, vision_layers=1, text_heads=2)
    model = Scripted(c)
    fill(model, 1, torch.float16)
    model.eval()
    inputs = (torch.randn(1, 3, c.image_size, c.image_size), integers((1, c.context_length), c.vocab_size))
    traced = torch.jit.trace(model, inputs, check_trace=False)
    halve(traced)
    path = out.path('.pt')
    traced.save(str(path))
    values = clip_values(exact(model, out.full), c, out.full)
    out.expected('clip', path, values, {} if out.full else {'heads': 2})


def clip_state_dict(c: ClipConfig, dtype: torch.dtype, options: dict) -> Callable[[Output], None]:
    def make(out: Output) -> None:
        model = Clip(c)
        fill(model, 2, dtype)
        path = out.path('.pt')
        torch.save(OrderedDict((k, v.to(dtype)) for k, v in model.state_dict().items()), path)
        out.expected('clip', path, clip_values(exact(model, out.full), c, out.full), options)

    return make


def clip_hugging_face(out: Output) -> None:
    c = ClipConfig() if out.full else TINY_CLIP
    model = HuggingFaceClip(c)
    fill(model, 3, torch.float32)
    path = out.path('.safetensors')
    save_file(model.state_dict(), path, {'format': 'pt'})
    out.path('.json').write_text(json.dumps(settings(c)))
    out.expected('clip', path, clip_values(exact(model, out.full), c, out.full), {'config': f'{out.case}.json'})


def clip_open_clip(out: Output) -> None:
    """A training checkpoint: wrapped names, the text tower apart, bfloat16, GELU."""
    c = ClipConfig() if out.full else replace(TINY_CLIP, vision_heads=4)
    model = Clip(c)
    fill(model, 4, torch.bfloat16)
    apart = ('transformer.', 'token_embedding.', 'positional_embedding', 'ln_final.', 'text_projection')
    state = OrderedDict(
        (f'module.{"text." if name.startswith(apart) else ""}{name}', value.bfloat16())
        for name, value in model.state_dict().items()
    )
    path = out.path('.pt')
    torch.save({'epoch': 32, 'name': 'run', 'state_dict': state, 'optimizer': {'state': {}}}, path)
    head_width = c.vision_width // c.vision_heads
    told = {
        'embed_dim': c.embed_dim,
        'vision_cfg': {'width': c.vision_width, 'head_width': head_width, 'patch_size': c.patch_size},
        'text_cfg': {'heads': c.text_heads, 'width': c.text_width},
    }
    out.path('.json').write_text(json.dumps({'model_cfg': told}))
    with gelu():
        values = clip_values(exact(model, out.full), c, out.full)
    out.expected('clip', path, values, {'config': f'{out.case}.json'})


class gelu:  # noqa: N801
    """x * Phi(x) in place of OpenAI's approximation."""

    def __enter__(self) -> None:
        import models.clip as module

        self.module, self.before = module, module.quick_gelu
        module.quick_gelu = nn.functional.gelu

    def __exit__(self, *_) -> None:
        self.module.quick_gelu = self.before


# VQGAN


def codes(scores: Tensor) -> tuple[Tensor, Tensor]:
    """The codes, and how much better each is than the next, in parts of the largest score."""
    best = scores.topk(2, dim=-1)
    return best.indices[..., 0], (best.values[..., 0] - best.values[..., 1]) / scores.abs().max()


def vqgan_values(scores, decode, side: int, full: bool) -> dict[str, Tensor]:
    pixels = random((1, 3, side, side), full).clamp(-1, 1)
    with torch.no_grad():
        tokens, margin = codes(scores(pixels))
        reconstruction = decode(tokens)
    return {
        'input.pixels': pixels,
        'output.tokens': tokens.flatten(1),
        'output.margin': margin.flatten(1),
        'output.reconstruction': reconstruction,
    }


TINY_TAMING = TamingConfig(
    resolution=16,
    ch=4,
    ch_mult=(1, 2),
    num_res_blocks=1,
    attn_resolutions=(8,),
    z_channels=6,
    embed_dim=6,
    n_embed=24,
    groups=2,
)


def taming(c: TamingConfig) -> Callable[[Output], None]:
    """A Lightning checkpoint: `state_dict` with the loss's networks beside the trainer's notes."""

    def make(out: Output) -> None:
        model = TamingVqgan(c)
        fill(model, 5, torch.float32)
        state = OrderedDict(model.state_dict())
        for name in ('loss.logvar', 'loss.perceptual_loss.scaling_layer.shift'):
            state[name] = torch.zeros(1)
        state['loss.discriminator.main.0.weight'] = torch.ones(2, 3, 4, 4)
        state['loss.discriminator.main.3.running_mean'] = torch.ones(2)
        state['loss.discriminator.main.3.num_batches_tracked'] = torch.tensor(5)
        state['loss.discriminator.main.11.bias'] = torch.ones(1)
        path = out.path('.ckpt')
        torch.save({'epoch': 11, 'global_step': 7, 'pytorch-lightning_version': '1.0.8', 'state_dict': state}, path)
        out.path('.yaml').write_text(c.settings())
        exact(model, out.full)
        values = vqgan_values(model.scores, model.decode, c.resolution, out.full)
        config = f'{out.case}.yaml'
        if not out.full:
            config = f'{out.case}.json'
            out.path('.json').write_text(json.dumps(own_config(c)))
            out.path('.yaml').unlink()
        out.expected('vqgan', path, values, {'config': config})

    return make


def own_config(c: TamingConfig) -> dict:
    """The configuration in clip-gen's form: small models have other groups than the published ones."""
    config = {
        'model': 'vqgan',
        'imageSize': c.resolution,
        'patchSize': 1,
        'channels': c.ch,
        'multipliers': list(c.ch_mult),
        'blocks': c.num_res_blocks,
        'attentionSides': list(c.attn_resolutions),
        'groups': c.groups,
        'codebookSize': c.n_embed,
        'codeSize': c.embed_dim,
        'normEpsilon': 1e-6,
    }
    if c.z_channels != c.embed_dim:
        config['latentSize'] = c.z_channels
    if c.gumbel:
        config['codeChoice'] = 'projection'
    return config


def clip_gen_vqgan(out: Output) -> None:
    small = VqganConfig(
        image_size=32,
        channels=4,
        multipliers=(1, 2),
        encoder_blocks=1,
        decoder_blocks=2,
        attention_resolutions=(16,),
        norm_groups=2,
        codebook_size=20,
        codebook_dim=6,
        discriminator_channels=2,
        discriminator_layers=1,
    )
    c = VqganConfig() if out.full else small
    model = Vqgan(c)
    # float16 in the small one keeps the file small
    dtype = torch.float32 if out.full else torch.float16
    fill(model, 6, dtype)
    state = OrderedDict((k, v.to(dtype) if v.is_floating_point() else v) for k, v in model.state_dict().items())
    path = out.path('.pt')
    torch.save({'model': state, 'epoch': 3, 'step': 40}, path, _use_new_zipfile_serialization=out.full)
    exact(model, out.full)
    values = vqgan_values(
        lambda pixels: nearest(model, pixels),
        lambda tokens: model.decoder(model.quantizer.embedding(tokens).permute(0, 3, 1, 2)),
        c.image_size,
        out.full,
    )
    options = {}
    if not out.full:
        options = {'config': f'{out.case}.json'}
        sizes = TamingConfig(c.image_size, c.channels, c.multipliers, 1, (16,), 6, 6, c.codebook_size, groups=2)
        out.path('.json').write_text(json.dumps({**own_config(sizes), 'normEpsilon': 1e-5}))
    out.expected('vqgan', path, values, options)


def nearest(model: Vqgan, pixels: Tensor) -> Tensor:
    rows, table = model.encoder(pixels).permute(0, 2, 3, 1), model.quantizer.embedding.weight
    return 2 * rows @ table.T - table.square().sum(-1) - rows.square().sum(-1, keepdim=True)


def clip_gen_preview(out: Output) -> None:
    c = PreviewConfig(grid_size=3, codebook_size=20, code_size=6, channels=(8, 6), blocks=(2, 1), patch_size=2)
    model = Preview(c)
    fill(model, 9, torch.float32)
    path = out.path('.pt')
    torch.save({'model': OrderedDict(model.state_dict())}, path)
    exact(model, out.full)
    tokens = integers((2, c.grid_size**2), c.codebook_size)
    with torch.no_grad():
        values = {'input.tokens': tokens, 'output.pixels': model(tokens)}
    out.expected('preview', path, values, {'imageSize': 12})


# GPT and LPIPS


def clip_gen_gpt(out: Output) -> None:
    small = GptConfig(vocab_size=30, layers=2, width=32, heads=4, block_size=9, cond_dim=8)
    c = GptConfig() if out.full else small
    model = Gpt(c)
    fill(model, 7, torch.float32)
    path = out.path('.pt')
    torch.save({'model': model.state_dict(), 'epoch': 3}, path)
    exact(model, out.full)
    condition = random((2, c.cond_dim), out.full)
    tokens = integers((2, c.block_size - 1), c.vocab_size)
    with torch.no_grad():
        logits = model(tokens, condition)
    values = {'input.condition': condition, 'input.tokens': tokens, 'output.logits': logits}
    out.expected('gpt', path, values, {} if out.full else {'heads': c.heads})


def lpips(split: bool) -> Callable[[Output], None]:
    def make(out: Output) -> None:
        model = Lpips(VGG16_CHANNELS if out.full else (2, 4, 4, 6, 6))
        fill(model, 8, torch.float32)
        for name, value in model.state_dict().items():
            if name.startswith('lin'):
                value.abs_()
        state, path, options = model.state_dict(), out.path('.pt'), {}
        if split:
            features = {f'features.{name.split(".", 2)[2]}': v for name, v in state.items() if name.startswith('net.')}
            features['classifier.0.weight'] = torch.ones(2, 2)
            torch.save(features, path, _use_new_zipfile_serialization=False)
            options = {'linear': f'{out.case}-linear.pt'}
            linear = {name: v for name, v in state.items() if name.startswith('lin')}
            torch.save(linear, out.path('-linear.pt'), _use_new_zipfile_serialization=False)
        else:
            state['scaling_layer.shift'], state['scaling_layer.scale'] = torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)
            torch.save(state, path)
        exact(model, out.full)
        a, b = (random((1, 3, 32, 32), out.full, seed).clamp(-1, 1) for seed in (1, 2))
        with torch.no_grad():
            distance = model(a, b).mean()
        out.expected('lpips', path, {'input.a': a, 'input.b': b, 'output.distance': distance}, options)

    return make


@dataclass(frozen=True)
class Case:
    small: Callable[[Output], None] | None = None
    full: Callable[[Output], None] | None = None


CASES: dict[str, Case] = {
    'clip-torchscript': Case(clip_scripted, clip_scripted),
    'clip-state-dict': Case(clip_state_dict(replace(TINY_CLIP, vision_heads=1, text_heads=1), torch.float16, {'heads': 1})),
    'clip-b16': Case(full=clip_state_dict(B16, torch.float32, {})),
    'clip-l14': Case(full=clip_state_dict(L14, torch.float16, {})),
    'clip-hugging-face': Case(clip_hugging_face, clip_hugging_face),
    'clip-open-clip': Case(clip_open_clip, clip_open_clip),
    'vqgan-clip-gen': Case(clip_gen_vqgan, clip_gen_vqgan),
    'vqgan-taming': Case(taming(TINY_TAMING)),
    'vqgan-taming-gumbel': Case(taming(replace(TINY_TAMING, gumbel=True))),
    'vqgan-latent-diffusion': Case(taming(replace(TINY_TAMING, z_channels=3, embed_dim=5))),
    'vqgan-f16-1024': Case(full=taming(TamingConfig())),
    'vqgan-f16-16384': Case(full=taming(TamingConfig(n_embed=16384))),
    'vqgan-f8-gumbel': Case(
        full=taming(TamingConfig(ch_mult=(1, 1, 2, 4), attn_resolutions=(32,), n_embed=8192, gumbel=True))
    ),
    'vqgan-f8-16384': Case(
        full=taming(
            TamingConfig(ch_mult=(1, 2, 2, 4), attn_resolutions=(32,), z_channels=4, embed_dim=4, n_embed=16384)
        )
    ),
    'preview-clip-gen': Case(clip_gen_preview),
    'gpt-clip-gen': Case(clip_gen_gpt, clip_gen_gpt),
    'lpips': Case(lpips(split=False), lpips(split=False)),
    'lpips-torchvision': Case(lpips(split=True), lpips(split=True)),
}


def published_names() -> None:
    """libs/interchange/goldens: what the readers see of the published models."""

    def shapes(model: nn.Module) -> dict[str, list[int]]:
        return {name: list(value.shape) for name, value in model.state_dict().items()}

    b32 = ClipConfig()
    f16 = TamingConfig(n_embed=16384)
    gumbel = TamingConfig(ch_mult=(1, 1, 2, 4), attn_resolutions=(32,), n_embed=8192, gumbel=True)
    diffusion = TamingConfig(
        ch_mult=(1, 2, 2, 4), attn_resolutions=(32,), z_channels=4, embed_dim=4, n_embed=16384
    )
    with torch.device('meta'):
        names = {
            'clip-b32': shapes(Scripted(b32)),
            'clip-b16': shapes(Clip(B16)),
            'clip-l14': shapes(Clip(L14)),
            'clip-hugging-face-b32': shapes(HuggingFaceClip(b32)),
            'vqgan-coco': shapes(Vqgan(VqganConfig())),
            'vqgan-f16-1024': shapes(TamingVqgan(TamingConfig())),
            'vqgan-f16-16384': shapes(TamingVqgan(f16)),
            'vqgan-f8-gumbel': shapes(TamingVqgan(gumbel)),
            'vqgan-f8-16384': shapes(TamingVqgan(diffusion)),
            'gpt-coco': shapes(Gpt(GptConfig())),
            'gpt-large': shapes(Gpt(GptConfig(layers=36, width=1280, heads=20))),
            'lpips': shapes(Lpips()),
        }
    folder = HERE.parents[1] / 'libs' / 'interchange' / 'goldens'
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(names, separators=(',', ':')).encode()
    (folder / 'names.json.gz').write_bytes(gzip.compress(text, mtime=0))
    (folder / 'vqgan-f16-16384.yaml').write_text(f16.settings())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument('--full', type=Path)
    parser.add_argument('--list', action='store_true')
    parser.add_argument('--names', action='store_true')
    parser.add_argument('cases', nargs='*')
    arguments = parser.parse_args()
    full = arguments.full is not None
    folder = arguments.full or HERE / 'checkpoints'
    if arguments.list:
        print('\n'.join(name for name, case in CASES.items() if case.full))
        return
    if arguments.names:
        published_names()
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name, case in CASES.items():
        make = case.full if full else case.small
        if make and (not arguments.cases or name in arguments.cases):
            make(Output(folder, name, full))


if __name__ == '__main__':
    main()
