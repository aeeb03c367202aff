/**
 * Tokens to pictures by the preview decoder beside the VQGAN's own: multiplications, parameters, and milliseconds of a
 * picture, alone and sixteen in a run, in turns. Weights are random: they cost what trained ones do.
 *
 *     node --import tsx tools/bench/preview.ts [--config f8|f16] [--threads 2] [--rounds 30] [--quick] [--json FILE]
 *
 * `f8` are the sizes of the emoji model, `f16` those of the released one, whose decoder takes seconds a picture.
 */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  openPreviewPart,
  openVqganPart,
  PictureDecoder,
  PreviewDecoder,
  previewParameters,
  vqganParameters,
  type GridDecoder,
} from '@clip-gen/generation';
import { GraphBuilder, staticShape, type Node } from '@clip-gen/graph';
import { Scope, type ParameterSpec } from '@clip-gen/nn';
import { RandomStream } from '@clip-gen/rng';
import { writeSafetensors } from '@clip-gen/safetensors';
import { elementCount, emptyTensor } from '@clip-gen/tensor';
import {
  decodeLatents,
  decodePreview,
  gridSide,
  lookUp,
  PREVIEW_PRESETS,
  previewConfigFor,
  previewConfigSchema,
  VQGAN_PRESETS,
  vqganConfigSchema,
} from '@clip-gen/vqgan';
import {
  benchOptions,
  contender,
  interleave,
  least,
  machine,
  median,
  printTable,
  saveFigures,
  timed,
} from './measure.ts';

const GOAL = 20;
const PAIRS = { f8: 'f8-2048', f16: 'f16-16384' } as const;

const options = benchOptions({
  config: { type: 'string', default: 'f8' },
  threads: { type: 'string', default: '2' },
  rounds: { type: 'string', default: '30' },
});
const pair = PAIRS[options.config as keyof typeof PAIRS];
if (!pair) throw new Error(`--config must be one of ${Object.keys(PAIRS).join(', ')}; got ${options.config}`);
const engine = { threads: Number(options.threads) };
const vqgan = vqganConfigSchema.parse(VQGAN_PRESETS[`vqgan-${pair}`]);
const preview = previewConfigSchema.parse(previewConfigFor(vqgan, PREVIEW_PRESETS[`preview-${pair}`]));
const side = gridSide(vqgan);

const folder = await mkdtemp(join(tmpdir(), 'clip-gen-bench-'));
const decoders: GridDecoder[] = [];
try {
  await writePart(join(folder, 'vqgan'), vqgan, vqganParameters(vqgan));
  await writePart(join(folder, 'preview'), preview, previewParameters(preview));
  const full = await PictureDecoder.open(await openVqganPart(join(folder, 'vqgan')), engine);
  decoders.push(full);
  const small = await PreviewDecoder.open(await openPreviewPart(join(folder, 'preview')), engine);
  decoders.push(small);

  const work = [
    costOf((scope, tokens) => decodeLatents(scope, vqgan, lookUp(scope, vqgan, tokens, side))),
    costOf((scope, tokens) => decodePreview(scope, preview, tokens)),
  ] as const;
  const counts = options.quick || options.config === 'f16' ? [1] : [1, 16];
  const figures: Record<string, unknown>[] = [];
  for (const count of counts) {
    const random = new RandomStream(1);
    const grids = Array.from({ length: count }, () =>
      Int32Array.from({ length: side * side }, () => random.integer(vqgan.codebookSize)),
    );
    const turn = (name: string, decoder: GridDecoder, repeats: number) =>
      contender(name, async () => {
        const ms = await timed(async () => {
          for (let i = 0; i < repeats; i++) await decoder.decodeAll(grids);
        });
        return ms / repeats / count;
      });
    // The small one is over before a clock's jitter is: it has several runs a turn.
    const contenders = [
      turn('VQGAN decoder', full, 1),
      turn('preview decoder', small, options.quick ? 2 : 10),
    ] as const;
    const rounds = options.quick ? 2 : options.config === 'f16' ? 5 : Number(options.rounds);
    await interleave(contenders, { warmup: options.quick ? 1 : 2, rounds, budgetMs: 25_000 });
    const rows = contenders.map(({ name, times }, i) => ({
      name,
      batch: count,
      multiplications: work[i]!.multiplications,
      parameters: work[i]!.parameters,
      medianMs: median(times),
      leastMs: least(times),
    }));
    figures.push(...rows);
    console.log(`${pair}: ${count} picture(s) a run, ${engine.threads} threads; ${machine()}`);
    printTable(
      ['', 'M multiplications', 'M parameters', 'median ms a picture', 'least ms'],
      rows.map(({ name, multiplications, parameters, medianMs, leastMs }) => [
        name,
        multiplications / 1e6,
        parameters / 1e6,
        medianMs,
        leastMs,
      ]),
    );
    const ratio = (of: (row: (typeof rows)[number]) => number): string => (of(rows[0]!) / of(rows[1]!)).toFixed(1);
    console.log(
      `ratio: ${ratio((row) => row.multiplications)} of the multiplications, ${ratio((row) => row.medianMs)} of the time ` +
        `(of the least times ${ratio((row) => row.leastMs)}); goal ≥ ${GOAL}`,
    );
  }
  await saveFigures(options.json, { bench: 'preview', pair, threads: engine.threads, figures });
} finally {
  for (const decoder of decoders) await decoder.close();
  await rm(folder, { recursive: true, force: true });
}

async function writePart(at: string, config: object, specs: readonly ParameterSpec[]): Promise<void> {
  await mkdir(at);
  await writeFile(join(at, 'config.json'), JSON.stringify(config));
  const unique = new Map(specs.map((spec) => [spec.name, spec]));
  const random = new RandomStream(1);
  const table = Float32Array.from({ length: 65_521 }, () => random.normal() * 0.05);
  await writeSafetensors(
    join(at, 'model.safetensors'),
    [...unique.values()].map(({ name, shape }) => {
      const weight = emptyTensor('float32', shape);
      for (let from = 0; from < weight.data.length; from += table.length) {
        weight.data.set(table.subarray(0, weight.data.length - from), from);
      }
      return [name, weight] as const;
    }),
  );
}

/** Multiplications of one picture in convolutions and matrix products, and the weights that they take part in. */
function costOf(build: (scope: Scope, tokens: ReturnType<GraphBuilder['input']>) => ReturnType<GraphBuilder['input']>) {
  const graph = new GraphBuilder('cost');
  const scope = new Scope(graph);
  graph.output('pixels', build(scope, graph.input('tokens', 'int64', [1, side * side])));
  const parameters = scope.specs.reduce((sum, { shape }) => sum + elementCount(shape), 0);
  return { multiplications: graph.nodes.reduce((sum, node) => sum + multiplicationsOf(node), 0), parameters };
}

function multiplicationsOf({ op, inputs, outputs }: Node): number {
  const [output] = outputs;
  if (op === 'Conv') {
    const [, ...kernel] = staticShape(inputs[1]!.shape, op);
    return elementCount(staticShape(output!.shape, op)) * elementCount(kernel);
  }
  if (op === 'MatMul' || op === 'Gemm') {
    // The folding of an upsampling's taps belongs to the weights: it is done once.
    if (!inputs[0]!.producer && inputs[0]!.shape.length > 0) return 0;
    return elementCount(staticShape(output!.shape, op)) * Number(inputs[0]!.shape.at(-1));
  }
  return 0;
}
