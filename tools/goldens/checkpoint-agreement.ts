import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { encodeImage, encodeText, type ClipConfig } from '@clip-gen/clip';
import { predictTokens, type GptConfig } from '@clip-gen/gpt';
import { encodeModel, GraphBuilder, type Value } from '@clip-gen/graph';
import { importCheckpoint, type ImportedModel, type ImportOptions, type ImportReport } from '@clip-gen/interchange';
import { lpips } from '@clip-gen/losses';
import { Scope } from '@clip-gen/nn';
import { createSession } from '@clip-gen/runtime';
import { openSafetensors, readSafetensors } from '@clip-gen/safetensors';
import type { Tensor } from '@clip-gen/tensor';
import {
  decodeLatents,
  encodeLatents,
  gridSide,
  latentRows,
  lookUp,
  nearestCodes,
  decodePreview,
  type PreviewConfig,
  type VqganConfig,
} from '@clip-gen/vqgan';

/** How far one output lies from PyTorch's: the largest difference over the largest value. */
export interface Agreement {
  readonly output: string;
  readonly relative: number;
}

/** What importing a case gave, and how near it computes. */
export interface CheckedImport {
  readonly report: ImportReport;
  readonly agreements: readonly Agreement[];
  /** Codes of all positions, those that are another than PyTorch's, and those of them that rounding does not explain. */
  readonly codes: { readonly all: number; readonly other: number; readonly wrong: number };
}

/** Inputs and outputs by name. */
type Expected = ReadonlyMap<string, Tensor>;

/** Below this margin, in parts of the largest score, float32 may choose the next code. */
const CLEAR_MARGIN = 1e-5;

/**
 * Imports a checkpoint that `foreign.py` wrote and runs it on what PyTorch was run on.
 *
 * @param expectedPath `CASE.expected.safetensors`, the checkpoint beside it
 * @param out a folder for the imported model
 */
export async function checkImport(expectedPath: string, out: string): Promise<CheckedImport> {
  const expected = await readSafetensors(expectedPath);
  const notes = await metadataOf(expectedPath);
  const kind = notes.get('kind') as ImportedModel;
  const folder = dirname(expectedPath);
  const told = JSON.parse(notes.get('options')!) as ImportOptions;
  const options: ImportOptions = {
    ...told,
    ...(told.config ? { config: join(folder, told.config) } : {}),
    ...(told.linear ? { linear: join(folder, told.linear) } : {}),
  };
  const report = await importCheckpoint(kind, join(folder, notes.get('file')!), out, options);
  const outputs = await runImported(kind, out, expected);
  const tokens = outputs['tokens'];
  delete outputs['tokens'];
  const agreements = Object.entries(outputs).map(([output, tensor]) => ({
    output,
    relative: relativeToLargest(tensor.data as Float32Array, expected.get(`output.${output}`)!.data as Float32Array),
  }));
  return { report, agreements, codes: tokens ? compareCodes(tokens, expected) : { all: 0, other: 0, wrong: 0 } };
}

async function metadataOf(path: string): Promise<ReadonlyMap<string, string>> {
  const file = await openSafetensors(path);
  await file.close();
  return file.metadata;
}

/** The largest difference over the largest expected value; infinite for a length that differs or a NaN. */
function relativeToLargest(got: Float32Array, expected: Float32Array): number {
  if (got.length !== expected.length) return Infinity;
  const differences = got.map((value, i) => Math.abs(value - expected[i]!));
  const relative = greatest(differences) / greatest(expected.map(Math.abs));
  return Number.isNaN(relative) ? Infinity : relative;
}

function greatest(values: Float32Array): number {
  return values.reduce((most, value) => (value > most || Number.isNaN(value) ? value : most), 0);
}

async function runImported(kind: ImportedModel, out: string, expected: Expected): Promise<Record<string, Tensor>> {
  const config: unknown = JSON.parse(await readFile(join(out, 'config.json'), 'utf8'));
  switch (kind) {
    case 'clip':
      return run(out, expected, (scope, input) => ({
        image: encodeImage(scope, config as ClipConfig, input('pixels')),
        text: encodeText(scope, config as ClipConfig, input('tokens')),
      }));
    case 'vqgan': {
      const vqgan = config as VqganConfig;
      const side = gridSide(vqgan);
      return run(out, expected, (scope, input) => {
        const pixels = input('pixels');
        const codes = lookUp(scope, vqgan, input('chosen', 'output.tokens'), side);
        return {
          tokens: nearestCodes(scope, vqgan, latentRows(encodeLatents(scope, vqgan, pixels))),
          reconstruction: decodeLatents(scope, vqgan, codes),
        };
      });
    }
    case 'preview':
      return run(out, expected, (scope, input) => ({
        pixels: decodePreview(scope, config as PreviewConfig, input('tokens')),
      }));
    case 'gpt':
      return run(out, expected, (scope, input) => ({
        logits: predictTokens(scope, config as GptConfig, input('condition'), input('tokens')),
      }));
    case 'lpips': {
      const { channels } = config as { channels: number[] };
      return run(out, expected, (scope, input) => ({ distance: lpips(scope, input('a'), input('b'), { channels }) }));
    }
  }
}

type Inputs = (name: string, golden?: string) => Value;

/** Runs a graph whose weights are mapped from the imported folder. */
async function run(
  folder: string,
  expected: Expected,
  build: (scope: Scope, input: Inputs) => Readonly<Record<string, Value>>,
): Promise<Record<string, Tensor>> {
  const graph = new GraphBuilder('agreement');
  const feeds: Record<string, Tensor> = {};
  const input: Inputs = (name, golden = `input.${name}`) => {
    const tensor = expected.get(golden)!;
    feeds[name] = tensor;
    return graph.input(name, tensor.dtype, tensor.shape);
  };
  for (const [name, value] of Object.entries(build(new Scope(graph), input))) graph.output(name, value);
  const file = 'model.safetensors';
  const weights = await openSafetensors(join(folder, file));
  await weights.close();
  const model = encodeModel(graph, {
    parameters: (name) => {
      const { dtype, byteOffset, byteLength } = weights.entries.get(name)!;
      return { file, byteOffset, byteLength, dtype: dtype === 'float16' ? 'float16' : 'float32' };
    },
  });
  const session = await createSession(model, { threads: 1, externalDataFolder: folder });
  try {
    return await session.run(feeds);
  } finally {
    await session.close();
  }
}

function compareCodes(tokens: Tensor, expected: Expected): CheckedImport['codes'] {
  const wanted = expected.get('output.tokens')!.data as BigInt64Array;
  const margin = expected.get('output.margin')!.data as Float32Array;
  const got = tokens.data as BigInt64Array;
  const other = Array.from(wanted.keys()).filter((i) => wanted[i] !== got[i]);
  return { all: wanted.length, other: other.length, wrong: other.filter((i) => margin[i]! > CLEAR_MARGIN).length };
}
