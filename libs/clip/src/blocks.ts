import { add, gelu, quickGelu, type Value } from '@clip-gen/graph';
import { fanIn, layerNorm, linear, normal, selfAttention, type Scope } from '@clip-gen/nn';

/** Of a tower; its width W is that of what goes in, and `heads` must divide it. */
export interface TransformerOptions {
  readonly layers: number;
  readonly heads: number;
  readonly causal: boolean;
  /** The text tower starts narrower with depth (openai/CLIP); the vision tower with PyTorch's defaults. */
  readonly scaledStart: boolean;
  /** x·σ(1.702x) or x·Φ(x). */
  readonly activation: 'quickGelu' | 'gelu';
}

/** Pre-norm residual blocks, (B, T, W) → (B, T, W); `features` receives the output of each block when given. */
export function transformer(scope: Scope, x: Value, options: TransformerOptions, features: Value[] = []): Value {
  const width = x.shape[2] as number;
  const { layers, heads, causal, scaledStart } = options;
  const activate = options.activation === 'gelu' ? gelu : quickGelu;
  const deep = normal(width ** -0.5 * (2 * layers) ** -0.5);
  for (let i = 0; i < layers; i++) {
    const block = scope.child('resblocks').child(i);
    const attended = selfAttention(block.child('attn'), layerNorm(block.child('ln_1'), x), {
      heads,
      causal,
      ...(scaledStart ? { inProjection: normal(width ** -0.5), outProjection: deep } : {}),
    });
    x = add(x, attended);
    const mlp = block.child('mlp');
    const hidden = linear(mlp.child('c_fc'), layerNorm(block.child('ln_2'), x), 4 * width, {
      weight: scaledStart ? normal((2 * width) ** -0.5) : fanIn(width),
    });
    const out = linear(mlp.child('c_proj'), activate(hidden), width, {
      weight: scaledStart ? deep : fanIn(4 * width),
    });
    x = add(x, out);
    features.push(x);
  }
  return x;
}
