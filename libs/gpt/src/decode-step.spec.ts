import { fileURLToPath } from 'node:url';
import { encodeModel, GraphBuilder } from '@clip-gen/graph';
import { initialize, Scope } from '@clip-gen/nn';
import { createSession, type Session } from '@clip-gen/runtime';
import { tensor, type Tensor } from '@clip-gen/tensor';
import { expectClose, loadGoldens, runGraph } from '@clip-gen/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { GptConfig } from './config.ts';
import { decodeStepGraph } from './decode-step.ts';
import { predictTokens } from './gpt.ts';
import { emptyCache } from './key-value-cache.ts';

const GOLDENS = fileURLToPath(new URL('../goldens/gpt-tiny.safetensors', import.meta.url));
const CONFIG: GptConfig = {
  model: 'gpt',
  tokens: 8,
  vocabularySize: 24,
  conditionSize: 16,
  width: 32,
  layers: 2,
  heads: 2,
};

type Row = { readonly condition: Float32Array; readonly tokens: readonly number[] };

/** Logits of all positions by `predictTokens`: (rows, T, K). */
async function teacherForced(weights: ReadonlyMap<string, Tensor>, rows: readonly Row[]): Promise<Float32Array> {
  const graph = new GraphBuilder('teacher');
  const { conditionSize, tokens } = CONFIG;
  const condition = graph.input('condition', 'float32', ['B', conditionSize]);
  const previous = graph.input('previous', 'int64', ['B', tokens - 1]);
  graph.output('logits', predictTokens(new Scope(graph), CONFIG, condition, previous));
  const { logits } = await runGraph(graph, {
    ...Object.fromEntries(weights),
    condition: tensor(
      'float32',
      [rows.length, conditionSize],
      Float32Array.from(rows.flatMap((row) => [...row.condition])),
    ),
    previous: tensor(
      'int64',
      [rows.length, tokens - 1],
      BigInt64Array.from(rows.flatMap((row) => row.tokens.slice(0, tokens - 1).map((token) => BigInt(token)))),
    ),
  });
  return logits!.data as Float32Array;
}

describe.each(['c-api', 'node'] as const)('one position with a cache (%s)', (backend) => {
  let session: Session;
  let weights: Map<string, Tensor>;
  let rows: Row[];
  let expected: Float32Array;

  beforeAll(async () => {
    const { graph, scope } = decodeStepGraph(CONFIG);
    session = await createSession(encodeModel(graph, { parameters: 'input' }), { backend, threads: 1 });
    weights = initialize(
      scope.specs.map((spec) => ({ ...spec, initializer: { kind: 'uniform', bound: 0.3 } as const })),
      5,
    );
    rows = [0, 1, 2].map((row) => ({
      condition: Float32Array.from({ length: CONFIG.conditionSize }, (_, i) => Math.sin(row * 3 + i) / 3),
      tokens: Array.from({ length: CONFIG.tokens }, (_, i) => (i * 7 + row * 5) % CONFIG.vocabularySize),
    }));
    expected = await teacherForced(weights, rows);
  });
  afterAll(() => session.close());

  /** One step of the given rows at the given positions; the cache is past and present at once. */
  async function step(
    chosen: readonly Row[],
    positions: readonly number[],
    cache: ReadonlyMap<string, Tensor<'float32'>>,
    parameters: ReadonlyMap<string, Tensor> = weights,
  ): Promise<Float32Array> {
    const batch = chosen.length;
    const past = [...cache].map(([name, data]) => [`past.${name}`, data] as const);
    const into = [...cache].map(([name, data]) => [`present.${name}`, data] as const);
    const { logits } = await session.run(
      {
        ...Object.fromEntries(parameters),
        ...Object.fromEntries(past),
        condition: tensor(
          'float32',
          [batch, CONFIG.conditionSize],
          Float32Array.from(chosen.flatMap((row) => [...row.condition])),
        ),
        token: tensor(
          'int32',
          [batch],
          Int32Array.from(chosen, (row, i) => row.tokens[positions[i]! - 1] ?? 0),
        ),
        position: tensor('int32', [batch], Int32Array.from(positions)),
        total: tensor('int32', [1], Int32Array.of(Math.max(...positions) + 1)),
      },
      { into: Object.fromEntries(into) },
    );
    return logits!.data as Float32Array;
  }

  const at = (row: number, position: number): Float32Array => {
    const from = (row * CONFIG.tokens + position) * CONFIG.vocabularySize;
    return expected.subarray(from, from + CONFIG.vocabularySize);
  };
  const row = (logits: Float32Array, index: number): Float32Array =>
    logits.subarray(index * CONFIG.vocabularySize, (index + 1) * CONFIG.vocabularySize);

  it('agrees with all positions at once', async () => {
    const cache = emptyCache(CONFIG, rows.length);
    for (let position = 0; position < CONFIG.tokens; position++) {
      const logits = await step(rows, [position, position, position], cache);
      for (let i = 0; i < rows.length; i++) expectClose(row(logits, i), at(i, position), { absolute: 2e-6 });
    }
  });

  it('lets rows stand at different positions, and start again over an old cache', async () => {
    const cache = emptyCache(CONFIG, rows.length);
    for (const data of cache.values()) data.data.fill(1e3); // what an earlier request has left
    const starts = [0, 2, 5]; // row i begins when the others have made starts[i] steps
    for (let time = 0; time < CONFIG.tokens + 5; time++) {
      // A row that waits or is done stands at position 0, which it writes again when it begins.
      const position = (i: number): number => time - starts[i]!;
      const active = rows.map((_, i) => position(i) >= 0 && position(i) < CONFIG.tokens);
      const positions = rows.map((_, i) => (active[i] ? position(i) : 0));
      const logits = await step(rows, positions, cache);
      for (let i = 0; i < rows.length; i++) {
        if (active[i]) expectClose(row(logits, i), at(i, position(i)), { absolute: 2e-6 });
      }
    }
  });

  it("agrees with PyTorch's logits", async () => {
    const goldens = await loadGoldens(GOLDENS);
    const trained = new Map([...weights.keys()].map((name) => [name, goldens.tensor(`weights.${name}`)]));
    const condition = goldens.tensor('input.condition').data;
    const target = goldens.tensor('input.target', 'int64').data;
    const golden = goldens.tensor('output.logits').data;
    const given = [0, 1].map((i) => ({
      condition: condition.slice(i * CONFIG.conditionSize, (i + 1) * CONFIG.conditionSize),
      tokens: Array.from(target.subarray(i * CONFIG.tokens, (i + 1) * CONFIG.tokens), Number),
    }));
    const cache = emptyCache(CONFIG, 2);
    for (let position = 0; position < CONFIG.tokens; position++) {
      const logits = await step(given, [position, position], cache, trained);
      for (let i = 0; i < 2; i++) {
        const from = (i * CONFIG.tokens + position) * CONFIG.vocabularySize;
        const reference = golden.subarray(from, from + CONFIG.vocabularySize);
        expectClose(row(logits, i), reference, { relative: 1e-5, scale: 'max' });
      }
    }
  });

  it('asks for the weights that training has, with their shapes', () => {
    const { scope } = decodeStepGraph(CONFIG);
    const graph = new GraphBuilder('training');
    const training = new Scope(graph);
    predictTokens(
      training,
      CONFIG,
      graph.input('condition', 'float32', ['B', CONFIG.conditionSize]),
      graph.input('previous', 'int64', ['B', CONFIG.tokens - 1]),
    );
    const sorted = (specs: Scope['specs']) => [...specs].sort((a, b) => (a.name < b.name ? -1 : 1));
    expect(sorted(scope.specs)).toEqual(sorted(training.specs));
  });
});
