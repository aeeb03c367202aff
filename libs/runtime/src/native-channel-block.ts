import { conv, encodeModel, GraphBuilder } from '@clip-gen/graph';
import { tensor } from '@clip-gen/tensor';
import { createSession } from './create-session.ts';

const CHANNELS = 32;

let known: Promise<8 | 16 | undefined> | undefined;

/**
 * Channels of a block in ONNX Runtime's blocked convolution kernels on this machine's CPU: 16 with AVX-512, 8 with
 * AVX2, undefined where it has none. It is what `encodeModel` takes as `channelBlock` for a graph that trains on the CPU.
 * Found by running a small convolution in each layout (about 10 ms, once a process).
 */
export function nativeChannelBlock(): Promise<8 | 16 | undefined> {
  known ??= probe();
  return known;
}

async function probe(): Promise<8 | 16 | undefined> {
  for (const block of [16, 8] as const) if (await computesRightly(block)) return block;
  return undefined;
}

/** Whether a 1×1 convolution laid out in blocks of this size is the matrix product that it should be. */
async function computesRightly(block: 8 | 16): Promise<boolean> {
  const graph = new GraphBuilder('probe');
  const x = graph.input('x', 'float32', [1, CHANNELS, 1, 1]);
  graph.output('y', conv(x, graph.parameter('weight', [CHANNELS, CHANNELS, 1, 1]), null));
  const weight = Float32Array.from({ length: CHANNELS * CHANNELS }, (_, i) => ((i * 37) % 101) - 50);
  const values = Float32Array.from({ length: CHANNELS }, (_, i) => i - 11);
  try {
    const session = await createSession(encodeModel(graph, { channelBlock: block }), { threads: 1 });
    try {
      const { y } = await session.run({
        x: tensor('float32', [1, CHANNELS, 1, 1], values),
        weight: tensor('float32', [CHANNELS, CHANNELS, 1, 1], weight),
      });
      // Whole numbers below 2²⁴: float32 sums are exact in any order.
      return values.every((_, o) => {
        const sum = values.reduce((total, value, i) => total + value * weight[o * CHANNELS + i]!, 0);
        return y!.data[o] === sum;
      });
    } finally {
      await session.close();
    }
  } catch {
    return false; // the kernels refuse the model: this CPU has no such layout
  }
}
