import { invalidArgument } from '@clip-gen/errors';
import {
  add,
  biasGelu,
  equal,
  gather,
  GraphBuilder,
  groupQueryAttention,
  reshape,
  where,
  type Dim,
  type Value,
} from '@clip-gen/graph';
import { fanIn, layerNorm, linear, normal, project, Scope, xavier, zeros } from '@clip-gen/nn';
import type { GptConfig } from './config.ts';
import { cacheNames, cacheShape, type CacheSteps } from './key-value-cache.ts';
import { roundedAttention } from './rounded-attention.ts';

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
  /** The cache, by `cacheNames`: float32 or int8 (B, H, P, D) each. */
  readonly past: ReadonlyMap<string, Value>;
}

/** Logits (B, K) of the token at each row's position, and the cache with that position written, by the same names. */
export interface DecodeOutputs {
  readonly logits: Value;
  readonly present: ReadonlyMap<string, Value>;
}

/** How the cache is kept. */
export interface DecodeOptions {
  /** Positions that it has room for: a number, or a name that stands for it until the graph runs. Default T, all. */
  readonly room?: Dim;
  /** With it keys and values are 8-bit integers of these steps. Default: float32. */
  readonly cacheSteps?: CacheSteps | undefined;
}

/**
 * p(token at one position | condition, earlier tokens): one position of `predictTokens`, with the keys and values of the
 * earlier positions in a cache instead of computed again.
 *
 * @param cacheSteps what the integers of an int8 cache stand for
 * @throws invalid_argument when `cacheSteps` lacks a tensor of the cache or has another number of steps
 */
export function decodeStep(
  scope: Scope,
  config: GptConfig,
  inputs: DecodeInputs,
  cacheSteps?: CacheSteps,
): DecodeOutputs {
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
    const query = reshape(packed, [batch, 1, 3 * width]);
    const cache = {
      pastKeys: past.get(`keys.${i}`)!,
      pastValues: past.get(`values.${i}`)!,
      positions: position,
      total,
    };
    const { mixed, keys, values } = cacheSteps
      ? roundedAttention(query, cache, {
          keys: stepsOf(cacheSteps, `keys.${i}`),
          values: stepsOf(cacheSteps, `values.${i}`),
        })
      : groupQueryAttention(query, cache);
    present.set(`keys.${i}`, keys).set(`values.${i}`, values);
    const attended = linear(attention.child('out_proj'), reshape(mixed, [batch, width]), width, { bias: zeros });
    [normed, x] = addNorm(block(i).child('norm2'), attended, x);
    const fed = linear(block(i).child('linear2'), feedForward(block(i).child('linear1'), normed, 4 * width), width);
    [normed, x] = addNorm(i + 1 < layers ? block(i + 1).child('norm1') : scope.child('norm'), fed, x);
  }
  const logits = linear(scope.child('head'), normed, vocabularySize); // (B, K)
  return { logits, present };
}

function stepsOf(cacheSteps: CacheSteps, name: string): Float32Array {
  const steps = cacheSteps.get(name);
  if (!steps) throw invalidArgument('cacheSteps', `a map with steps of ${name}`, [...cacheSteps.keys()].join());
  return steps;
}

// Between two products the kernels of ONNX Runtime wait for memory, and for each other: as few of them as there can be.

/** GELU of a linear layer, (B, in) → (B, out); the bias is added where the GELU is taken. */
function feedForward(scope: Scope, x: Value, out: number): Value {
  const into = x.shape[1] as number;
  const weight = scope.parameter('weight', [out, into], fanIn(into));
  return biasGelu(project(x, weight, null), scope.parameter('bias', [out], fanIn(into)));
}

/** LayerNorm of x + skip, and the sum: (B, W) each. The runtime's operator for both is slower than the two, from 8 rows on. */
function addNorm(scope: Scope, x: Value, skip: Value): [normed: Value, sum: Value] {
  const sum = add(x, skip);
  return [layerNorm(scope, sum), sum];
}

/**
 * {@link decodeStep} as a whole model for any number of rows `B`: inputs `condition`, `token`, `position`, `total` and
 * `past.<name>` for each of `cacheNames`, outputs `logits` and `present.<name>`.
 */
export function decodeStepGraph(
  config: GptConfig,
  { room = config.tokens, cacheSteps }: DecodeOptions = {},
): { readonly graph: GraphBuilder; readonly scope: Scope } {
  const graph = new GraphBuilder('gpt-decode-step');
  const scope = new Scope(graph);
  const inputs = {
    condition: graph.input('condition', 'float32', ['B', config.conditionSize]),
    token: graph.input('token', 'int32', ['B']),
    position: graph.input('position', 'int32', ['B']),
    total: graph.input('total', 'int32', [1]),
  };
  const past = new Map(
    cacheNames(config).map((name) => {
      return [name, graph.input(`past.${name}`, cacheSteps ? 'int8' : 'float32', cacheShape(config, 'B', room))];
    }),
  );
  const { logits, present } = decodeStep(scope, config, { ...inputs, past }, cacheSteps);
  graph.output('logits', logits);
  for (const [name, value] of present) graph.output(`present.${name}`, value);
  return { graph, scope };
}
