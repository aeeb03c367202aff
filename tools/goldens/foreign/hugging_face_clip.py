"""CLIP with the parameter names of Hugging Face's CLIPModel: separate projections of queries, keys and values, positions
as embedding tables, projections as linear layers.

Letters: B batch, T tokens, W width, E embedding.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.clip import ClipConfig, quick_gelu


class Attention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, causal: bool) -> Tensor:
        q, k, v = (
            p(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, width: int, activation):
        super().__init__()
        self.activation = activation
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.activation(self.fc1(x)))


class Layer(nn.Module):
    def __init__(self, width: int, heads: int, activation):
        super().__init__()
        self.self_attn = Attention(width, heads)
        self.layer_norm1 = nn.LayerNorm(width, eps=1e-5)
        self.mlp = Mlp(width, activation)
        self.layer_norm2 = nn.LayerNorm(width, eps=1e-5)

    def forward(self, x: Tensor, causal: bool) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x), causal)
        return x + self.mlp(self.layer_norm2(x))


class Encoder(nn.Module):
    def __init__(self, width: int, heads: int, layers: int, activation):
        super().__init__()
        self.layers = nn.ModuleList(Layer(width, heads, activation) for _ in range(layers))

    def forward(self, x: Tensor, causal: bool) -> Tensor:
        for layer in self.layers:
            x = layer(x, causal)
        return x


class VisionEmbeddings(nn.Module):
    def __init__(self, c: ClipConfig):
        super().__init__()
        positions = (c.image_size // c.patch_size) ** 2 + 1
        self.class_embedding = nn.Parameter(torch.zeros(c.vision_width))
        self.patch_embedding = nn.Conv2d(3, c.vision_width, c.patch_size, stride=c.patch_size, bias=False)
        self.position_embedding = nn.Embedding(positions, c.vision_width)
        self.register_buffer('position_ids', torch.arange(positions)[None])  # as older files have it

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.patch_embedding(pixels).flatten(2).mT
        first = self.class_embedding.expand(len(pixels), 1, -1)
        return torch.cat((first, patches), dim=1) + self.position_embedding(self.position_ids)


class VisionModel(nn.Module):
    def __init__(self, c: ClipConfig, activation):
        super().__init__()
        self.embeddings = VisionEmbeddings(c)
        self.pre_layrnorm = nn.LayerNorm(c.vision_width, eps=1e-5)  # spelled so
        self.encoder = Encoder(c.vision_width, c.vision_heads, c.vision_layers, activation)
        self.post_layernorm = nn.LayerNorm(c.vision_width, eps=1e-5)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.post_layernorm(self.encoder(self.pre_layrnorm(self.embeddings(pixels)), causal=False)[:, 0])


class TextEmbeddings(nn.Module):
    def __init__(self, c: ClipConfig):
        super().__init__()
        self.token_embedding = nn.Embedding(c.vocab_size, c.text_width)
        self.position_embedding = nn.Embedding(c.context_length, c.text_width)
        self.register_buffer('position_ids', torch.arange(c.context_length)[None])

    def forward(self, tokens: Tensor) -> Tensor:
        return self.token_embedding(tokens) + self.position_embedding(self.position_ids[:, : tokens.shape[1]])


class TextModel(nn.Module):
    def __init__(self, c: ClipConfig, activation):
        super().__init__()
        self.embeddings = TextEmbeddings(c)
        self.encoder = Encoder(c.text_width, c.text_heads, c.text_layers, activation)
        self.final_layer_norm = nn.LayerNorm(c.text_width, eps=1e-5)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.final_layer_norm(self.encoder(self.embeddings(tokens), causal=True))
        return x[torch.arange(len(tokens)), tokens.argmax(dim=1)]


class HuggingFaceClip(nn.Module):
    def __init__(self, c: ClipConfig, activation=quick_gelu):
        super().__init__()
        self.text_model = TextModel(c, activation)
        self.vision_model = VisionModel(c, activation)
        self.visual_projection = nn.Linear(c.vision_width, c.embed_dim, bias=False)
        self.text_projection = nn.Linear(c.text_width, c.embed_dim, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(2.6592))

    def encode_image(self, pixels: Tensor) -> Tensor:
        return self.visual_projection(self.vision_model(pixels))

    def encode_text(self, tokens: Tensor) -> Tensor:
        return self.text_projection(self.text_model(tokens))


def settings(c: ClipConfig, hidden_act: str = 'quick_gelu') -> dict:
    """The part of config.json that tells what the weights do not."""
    shared = {'hidden_act': hidden_act, 'layer_norm_eps': 1e-5}
    return {
        'model_type': 'clip',
        'projection_dim': c.embed_dim,
        'text_config': {**shared, 'num_attention_heads': c.text_heads, 'hidden_size': c.text_width},
        'vision_config': {**shared, 'num_attention_heads': c.vision_heads, 'hidden_size': c.vision_width},
    }
