import {
  add,
  equal,
  gather,
  gelu,
  GraphBuilder,
  groupQueryAttention,
  reshape,
  where,
  type Dim,
  type Value,
} from '@clip-gen/graph';
import { layerNorm, linear, normal, project, Scope, xavier, zeros } from '@clip-gen/nn';
import { emptyTensor, type Tensor } from '@clip-gen/tensor';
import type { GptConfig } from './config.ts';

/** What one step of decoding reads besides the cache. Rows are independent and may stand at different positions. */
export interface DecodeInputs {
  /** float32 (B, conditionSize), a unit CLIP embedding; read by rows at position 0 only. */
  readonly condition: Value;
  /** int32 (B): the token drawn last; read by rows at position 1 and later. */
  readonly token: Value;
  /** int32 (B), each in [0, T): the position that the row predicts. 0 stands for the condition. */
  readonly position: Value;
  /** int32 (1): the largest position + 1. */
  readonly total: Value;
  /** The cache, by {@link cacheNames}: float32 (B, H, T, D) each. */
  readonly past: ReadonlyMap<string, Value>;
}

/** Logits (B, K) of the token at each row's position, and the cache with that position written, by the same names. */
export interface DecodeOutputs {
  readonly logits: Value;
  readonly present: ReadonlyMap<string, Value>;
}

/** Names of the cache's tensors: keys and values of each layer. */
export function cacheNames(config: GptConfig): string[] {
  return Array.from({ length: config.layers }, (_, i) => [`keys.${i}`, `values.${i}`]).flat();
}

/** Shape of each of the cache's tensors for `batch` rows: (B, H, T, D). */
export function cacheShape<B extends Dim>(config: GptConfig, batch: B): [B, number, number, number] {
  return [batch, config.heads, config.tokens, config.width / config.heads];
}

/** An empty cache for `batch` rows, by {@link cacheNames}. The caller's; a row at position 0 needs no clearing. */
export function emptyCache(config: GptConfig, batch: number): Map<string, Tensor<'float32'>> {
  return new Map(cacheNames(config).map((name) => [name, emptyTensor('float32', cacheShape(config, batch))]));
}

/**
 * p(token at one position | condition, earlier tokens): one position of `predictTokens`, with the keys and values of the
 * earlier positions in a cache instead of computed again.
 */
export function decodeStep(scope: Scope, config: GptConfig, inputs: DecodeInputs): DecodeOutputs {
  const { condition, token, position, total, past } = inputs;
  const { tokens, vocabularySize, width, layers } = config;
  const batch = condition.shape[0]!;
  const first = linear(scope.child('cond_proj'), condition, width); // (B, W)
  const table = scope.child('tok_emb').parameter('weight', [vocabularySize, width], normal(1));
  const positions = scope.parameter('pos_emb', [1, tokens, width], zeros);
  const start = reshape(equal(position, 0), [batch, 1]);
  let x = where(start, first, gather(table, token)); // (B, W)
  x = add(x, gather(reshape(positions, [tokens, width]), position));
  const present = new Map<string, Value>();
  for (let i = 0; i < layers; i++) {
    const block = scope.child('blocks').child(i).child('encoder');
    const attention = block.child('self_attn');
    const weight = attention.parameter('in_proj_weight', [3 * width, width], xavier(width, 3 * width));
    const bias = attention.parameter('in_proj_bias', [3 * width], zeros);
    const packed = project(layerNorm(block.child('norm1'), x), weight, bias); // (B, 3W)
    const { mixed, keys, values } = groupQueryAttention(reshape(packed, [batch, 1, 3 * width]), {
      pastKeys: past.get(`keys.${i}`)!,
      pastValues: past.get(`values.${i}`)!,
      positions: position,
      total,
    });
    present.set(`keys.${i}`, keys).set(`values.${i}`, values);
    x = add(x, linear(attention.child('out_proj'), reshape(mixed, [batch, width]), width, { bias: zeros }));
    const hidden = gelu(linear(block.child('linear1'), layerNorm(block.child('norm2'), x), 4 * width));
    x = add(x, linear(block.child('linear2'), hidden, width));
  }
  const logits = linear(scope.child('head'), layerNorm(scope.child('norm'), x), vocabularySize); // (B, K)
  return { logits, present };
}

/**
 * {@link decodeStep} as a whole model for any number of rows `B`: inputs `condition`, `token`, `position`, `total` and
 * `past.<name>` for each of {@link cacheNames}, outputs `logits` and `present.<name>`.
 */
export function decodeStepGraph(config: GptConfig): { readonly graph: GraphBuilder; readonly scope: Scope } {
  const graph = new GraphBuilder('gpt-decode-step');
  const scope = new Scope(graph);
  const inputs = {
    condition: graph.input('condition', 'float32', ['B', config.conditionSize]),
    token: graph.input('token', 'int32', ['B']),
    position: graph.input('position', 'int32', ['B']),
    total: graph.input('total', 'int32', [1]),
  };
  const past = new Map(
    cacheNames(config).map((name) => [name, graph.input(`past.${name}`, 'float32', cacheShape(config, 'B'))]),
  );
  const { logits, present } = decodeStep(scope, config, { ...inputs, past });
  graph.output('logits', logits);
  for (const [name, value] of present) graph.output(`present.${name}`, value);
  return { graph, scope };
}
