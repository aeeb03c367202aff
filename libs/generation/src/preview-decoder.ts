import { access } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { ClipGenError } from '@clip-gen/errors';
import { GraphBuilder } from '@clip-gen/graph';
import type { RgbImage } from '@clip-gen/image';
import { Scope, type ParameterSpec } from '@clip-gen/nn';
import type { Session } from '@clip-gen/runtime';
import {
  decodePreviewLevels,
  previewConfigSchema,
  previewMisfit,
  previewSide,
  type PreviewConfig,
} from '@clip-gen/vqgan';
import { batches } from './batches.ts';
import { checkGrid, gridTensor, type GridDecoder } from './grid-decoder.ts';
import { createPartSession, openModelPart, type EngineOptions, type ModelPart } from './model-part.ts';
import type { VqganPart } from './model-parts.ts';
import type { CallOptions, NetworkGraph } from './network.ts';

/** A preview decoder on disk. */
export type PreviewPart = ModelPart<PreviewConfig>;

/** Tokens int64 (B, g·g) → levels uint8 (B, S, S, 3). */
export function previewDecoderGraph(config: PreviewConfig): NetworkGraph {
  const graph = new GraphBuilder('preview-decoder');
  const scope = new Scope(graph);
  const tokens = graph.input('tokens', 'int64', ['B', config.gridSize ** 2]);
  graph.output('levels', decodePreviewLevels(scope, config, tokens));
  return { graph, scope };
}

/** Every weight that a preview decoder's folder must hold. @throws invalid_argument when sizes do not fit together */
export function previewParameters(config: PreviewConfig): readonly ParameterSpec[] {
  return previewDecoderGraph(config).scope.specs;
}

/** Opens the folder of a preview decoder. @throws what `openModelPart` throws */
export function openPreviewPart(folder: string): Promise<PreviewPart> {
  return openModelPart(folder, previewConfigSchema, {
    parameters: previewParameters,
    layers: ({ blocks }) => blocks.reduce((sum, count) => sum + count + 1, 0),
  });
}

/** Whether a model's folder has a preview decoder, whatever is in it. */
export async function hasPreview(folder: string): Promise<boolean> {
  return access(join(folder, PREVIEW_FOLDER, 'config.json')).then(
    () => true,
    () => false,
  );
}

const PREVIEW_FOLDER = 'preview';

/**
 * Opens `DIR/preview` of a model.
 *
 * @param vqgan of the same model
 * @throws what `openModelPart` throws, with the next step where there is none; failed_precondition when it is another VQGAN's
 */
export async function openPreviewOf(folder: string, vqgan: VqganPart): Promise<PreviewPart> {
  const path = join(folder, PREVIEW_FOLDER);
  const part = await openPreviewPart(path).catch((cause: unknown) => {
    if (!(cause instanceof ClipGenError) || cause.code !== 'not_found') throw cause;
    const command = `clip-gen train preview --data PICTURES --vqgan ${join(folder, 'vqgan')} --out ${path}`;
    throw new ClipGenError('not_found', `model ${folder} has no preview decoder; train it: ${command}`, { cause });
  });
  const misfit = previewMisfit(part.config, vqgan.config);
  if (misfit === undefined) return part;
  throw new ClipGenError('failed_precondition', `${path} is of another VQGAN than ${vqgan.folder}: ${misfit}`);
}

/** Of the pictures of one run. */
const MAX_BATCH_PIXELS = 2 ** 20;
/** The runtime computes no more at the same time. */
const MAX_RUNS = 3;

/**
 * Token grids to pictures by a small network that was taught by the VQGAN's decoder. A run is over before a second thread
 * has woken up: each has one, and several pictures are several runs at the same time.
 */
export class PreviewDecoder implements GridDecoder {
  private constructor(
    readonly part: PreviewPart,
    private readonly session: Session,
    /** Runs at the same time. */
    private readonly runs: number,
  ) {}

  /** Loads the network. The caller closes it. */
  static async open(part: PreviewPart, engine: EngineOptions = {}): Promise<PreviewDecoder> {
    const { graph } = previewDecoderGraph(part.config);
    const session = await createPartSession(part, graph, { ...engine, threads: 1 });
    return new PreviewDecoder(part, session, Math.min(MAX_RUNS, engine.threads ?? availableParallelism()));
  }

  get tokens(): number {
    return this.part.config.gridSize ** 2;
  }

  /** Side of its pictures in pixels. */
  get side(): number {
    return previewSide(this.part.config);
  }

  async decode(tokens: ArrayLike<number>, options: CallOptions = {}): Promise<RgbImage> {
    return (await this.decodeAll([tokens], options))[0]!;
  }

  async decodeAll(grids: readonly ArrayLike<number>[], options: CallOptions = {}): Promise<RgbImage[]> {
    const { config } = this.part;
    for (const grid of grids) checkGrid(grid, { tokens: this.tokens, codebookSize: config.codebookSize });
    const rows = Math.min(MAX_BATCH_PIXELS / this.side ** 2, Math.ceil(grids.length / this.runs));
    const waiting = [...batches(grids, rows)];
    const images: RgbImage[] = [];
    while (waiting.length > 0) {
      const together = waiting.splice(0, this.runs);
      images.push(...(await Promise.all(together.map((batch) => this.#run(batch, options)))).flat());
    }
    return images;
  }

  async #run(grids: readonly ArrayLike<number>[], options: CallOptions): Promise<RgbImage[]> {
    const { levels } = await this.session.run({ tokens: gridTensor(grids) }, options);
    const { side } = this;
    const bytes = 3 * side * side;
    const data = levels!.data as Uint8Array;
    return grids.map((_, b) => ({ width: side, height: side, data: data.slice(b * bytes, (b + 1) * bytes) }));
  }

  close(): Promise<void> {
    return this.session.close();
  }
}
