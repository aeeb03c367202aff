import { clip, GraphBuilder, reshape } from '@clip-gen/graph';
import { Scope } from '@clip-gen/nn';
import { emptyTensor, tensor, type Tensor } from '@clip-gen/tensor';
import {
  decodeLatents,
  encodeLatents,
  gridSide,
  latentRows,
  lookUp,
  nearestCodes,
  type VqganConfig,
} from '@clip-gen/vqgan';
import { requireWeights, type FrozenModel } from '../frozen-weights.ts';
import { StepGraph } from '../step-graph.ts';
import type { BuiltGraph } from './vqgan-graphs.ts';
import { padBatch } from './pad-batch.ts';

/** What a preview decoder learns from: tokens of B pictures, what the VQGAN makes of them, and the pictures. */
export interface PreviewExamples {
  /** int64 (B, g·g) */
  readonly tokens: Tensor<'int64'>;
  /** The VQGAN's pictures, clamped to [−1, 1] and rounded to 8 bits as people see them. (B, 3, S, S) */
  readonly target: Tensor<'float32'>;
  /** (B, 3, S, S) in [−1, 1] */
  readonly original: Tensor<'float32'>;
}

/** The frozen VQGAN, there and back. It owns native memory: call `close()`. */
export class PreviewTeacher {
  private constructor(
    readonly frozen: FrozenModel<VqganConfig>,
    /** Pictures of a run. */
    readonly batch: number,
    private readonly session: StepGraph,
  ) {}

  /**
   * @param threads 0 = all cores
   * @throws failed_precondition when the VQGAN lacks a weight
   */
  static async open(frozen: FrozenModel<VqganConfig>, batch: number, threads: number): Promise<PreviewTeacher> {
    const { graph, specs } = teacherGraph(frozen.config, batch);
    requireWeights(specs, frozen.weights, `--vqgan ${frozen.folder}`);
    return new PreviewTeacher(frozen, batch, await StepGraph.compile(graph, threads));
  }

  /** @param images (B, 3, S, S) in [−1, 1], any number of them */
  async examples(images: Tensor<'float32'>): Promise<PreviewExamples> {
    const [count, ...shape] = images.shape as [number, ...number[]];
    const length = gridSide(this.frozen.config) ** 2;
    const tokens = emptyTensor('int64', [count, length]);
    const target = emptyTensor('float32', images.shape);
    const values = images.data.length / count;
    for (let from = 0; from < count; from += this.batch) {
      const rows = Math.min(this.batch, count - from);
      const part = images.data.subarray(from * values, (from + rows) * values);
      const feeds = { images: padBatch(tensor('float32', [rows, ...shape], part), this.batch) };
      const outputs = await this.session.run(this.frozen.weights, feeds);
      tokens.data.set((outputs['tokens']!.data as BigInt64Array).subarray(0, rows * length), from * length);
      const pixels = outputs['picture']!.data as Float32Array;
      for (let i = 0; i < rows * values; i++) target.data[from * values + i] = pixelOf(levelOf(pixels[i]!));
    }
    return { tokens, target, original: images };
  }

  close(): Promise<void> {
    return this.session.close();
  }
}

/** The 8-bit level of a pixel in [−1, 1]. */
export function levelOf(pixel: number): number {
  return Math.round((pixel + 1) * 127.5);
}

/** The pixel in [−1, 1] of an 8-bit level. */
export function pixelOf(level: number): number {
  return level / 127.5 - 1;
}

/** images (B, 3, S, S) → tokens int64 (B·g·g), picture (B, 3, S, S) in [−1, 1]. */
function teacherGraph(config: VqganConfig, batch: number): Omit<BuiltGraph, 'statistics'> {
  const graph = new GraphBuilder('preview-teacher');
  const scope = new Scope(graph);
  const images = graph.input('images', 'float32', [batch, 3, config.imageSize, config.imageSize]);
  const side = gridSide(config);
  const tokens = nearestCodes(scope, config, latentRows(encodeLatents(scope, config, images)));
  graph.output('tokens', tokens);
  const codes = lookUp(scope, config, reshape(tokens, [batch, side * side]), side);
  graph.output('picture', clip(decodeLatents(scope, config, codes), -1, 1));
  return { graph, specs: scope.specs };
}
