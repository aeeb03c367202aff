import {
  add,
  biasGelu,
  equal,
  gather,
  GraphBuilder,
  groupQueryAttention,
  reshape,
  skipLayerNormalization,
  where,
  type Dim,
  type Value,
} from '@clip-gen/graph';
import { fanIn, layerNorm, linear, normal, ones, project, Scope, xavier, zeros } from '@clip-gen/nn';
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
  const block = (i: number): Scope => scope.child('blocks').child(i).child('encoder');
  let normed = layerNorm(block(0).child('norm1'), x);
  for (let i = 0; i < layers; i++) {
    const attention = block(i).child('self_attn');
    const weight = attention.parameter('in_proj_weight', [3 * width, width], xavier(width, 3 * width));
    const bias = attention.parameter('in_proj_bias', [3 * width], zeros);
    const packed = project(normed, weight, bias); // (B, 3W)
    const { mixed, keys, values } = groupQueryAttention(reshape(packed, [batch, 1, 3 * width]), {
      pastKeys: past.get(`keys.${i}`)!,
      pastValues: past.get(`values.${i}`)!,
      positions: position,
      total,
    });
    present.set(`keys.${i}`, keys).set(`values.${i}`, values);
    const attended = linear(attention.child('out_proj'), reshape(mixed, [batch, width]), width, { bias: zeros });
    [normed, x] = addNorm(block(i).child('norm2'), attended, x);
    const fed = linear(block(i).child('linear2'), feedForward(block(i).child('linear1'), normed, 4 * width), width);
    [normed, x] = addNorm(i + 1 < layers ? block(i + 1).child('norm1') : scope.child('norm'), fed, x);
  }
  const logits = linear(scope.child('head'), normed, vocabularySize); // (B, K)
  return { logits, present };
}

// Between two products the kernels of ONNX Runtime wait for memory, and for each other: as few of them as there can be.

/** GELU of a linear layer, (B, in) → (B, out); the bias is added where the GELU is taken. */
function feedForward(scope: Scope, x: Value, out: number): Value {
  const into = x.shape[1] as number;
  const weight = scope.parameter('weight', [out, into], fanIn(into));
  return biasGelu(project(x, weight, null), scope.parameter('bias', [out], fanIn(into)));
}

/** LayerNorm of x + skip, and the sum: (B, W) each. */
function addNorm(scope: Scope, x: Value, skip: Value): [normed: Value, sum: Value] {
  const width = x.shape[1] as number;
  const [weight, bias] = [scope.parameter('weight', [width], ones), scope.parameter('bias', [width], zeros)];
  const { normalized, sum } = skipLayerNormalization(x, skip, weight, bias);
  return [normalized, sum];
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
