import { tensor, type Tensor } from '@clip-gen/tensor';
import type { World } from '../distributed/world.ts';

/** Latents (N, C) and their codes int64 (N) of the whole batch, in its order, from this process's of each run. */
export async function wholeLatents(
  rows: readonly Tensor<'float32'>[],
  tokens: readonly Tensor[],
  world: World,
): Promise<{ readonly rows: Tensor<'float32'>; readonly tokens: Tensor<'int64'> }> {
  const width = rows[0]!.shape[1]!;
  const latents = await world.gather(joined(rows.map(({ data }) => data)));
  // Codes are far below 2^24, where float32 begins to round.
  const codes = await world.gather(joined(tokens.map(({ data }) => Float32Array.from(data as BigInt64Array, Number))));
  return {
    rows: tensor('float32', [latents.length / width, width], latents),
    tokens: tensor('int64', [codes.length], BigInt64Array.from(codes, BigInt)),
  };
}

/**
 * ‖∇reconstruction‖ / (‖∇adversarial‖ + 1e-4) at the last layer, clamped to [0, 1e4], of the gradients' means over all
 * runs and processes: what one process would find for the whole batch. (PyTorch's data-parallel training takes each
 * process's own.)
 */
export async function wholeAdaptiveWeight(results: readonly Record<string, Tensor>[], world: World): Promise<number> {
  const names = ['last_reconstruction', 'last_adversarial'] as const;
  const means = names.map((name) => {
    const sum = Float32Array.from(results[0]![name]!.data as Float32Array);
    for (const { [name]: other } of results.slice(1)) {
      for (let i = 0; i < sum.length; i++) sum[i]! += Number(other!.data[i]);
    }
    return sum.map((value) => value / results.length);
  });
  await world.mean(means);
  const [reconstruction, adversarial] = means.map((mean) => Math.hypot(...mean)) as [number, number];
  return Math.min(1e4, reconstruction / (adversarial + 1e-4));
}

/** a + factor · b, of float32 tensors of one shape. */
export function sumOf(a: Tensor, factor: number, b: Tensor): Tensor<'float32'> {
  const [left, right] = [a.data as Float32Array, b.data as Float32Array];
  return tensor(
    'float32',
    a.shape,
    Float32Array.from(left, (value, i) => value + factor * right[i]!),
  );
}

function joined(parts: readonly Float32Array[]): Float32Array {
  const whole = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
