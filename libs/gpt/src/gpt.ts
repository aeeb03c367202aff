import { add, concat, gather, gelu, reshape, type Value } from '@clip-gen/graph';
import { layerNorm, linear, normal, selfAttention, zeros, type Scope } from '@clip-gen/nn';
import type { GptConfig } from './config.ts';

/**
 * p(token t | condition, tokens 0…t−1) for all positions at once: the condition stands first and predicts token 0.
 *
 * @param condition float32 (B, conditionSize), a unit CLIP embedding
 * @param previous int64 (B, T−1), tokens 0…T−2
 * @returns logits (B, T, K)
 */
export function predictTokens(scope: Scope, config: GptConfig, condition: Value, previous: Value): Value {
  const { tokens, vocabularySize, width, layers } = config;
  const batch = condition.shape[0]!;
  const first = reshape(linear(scope.child('cond_proj'), condition, width), [batch, 1, width]);
  const table = scope.child('tok_emb').parameter('weight', [vocabularySize, width], normal(1));
  const positions = scope.parameter('pos_emb', [1, tokens, width], zeros);
  let x = add(concat([first, gather(table, previous)], 1), positions); // (B, T, W)
  for (let i = 0; i < layers; i++) x = block(scope.child('blocks').child(i).child('encoder'), x, config.heads);
  return linear(scope.child('head'), layerNorm(scope.child('norm'), x), vocabularySize);
}

/** One pre-norm layer with the names of PyTorch's TransformerEncoderLayer, (B, T, W) → (B, T, W). */
function block(scope: Scope, x: Value, heads: number): Value {
  const width = x.shape[2] as number;
  const attended = selfAttention(scope.child('self_attn'), layerNorm(scope.child('norm1'), x), { heads, causal: true });
  x = add(x, attended);
  const hidden = gelu(linear(scope.child('linear1'), layerNorm(scope.child('norm2'), x), 4 * width));
  return add(x, linear(scope.child('linear2'), hidden, width));
}
