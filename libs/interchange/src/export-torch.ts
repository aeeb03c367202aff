import { tensor, type Tensor } from '@clip-gen/tensor';
import { writeTorchCheckpoint, type TorchSource } from '@clip-gen/torch-checkpoint';
import type { GptConfig } from '@clip-gen/gpt';
import type { ModelConfig, ModelFolder } from './model-folder.ts';

/** What was written. */
export interface TorchReport {
  /** The entry of the file that holds the state dict; none when that is the whole file. */
  readonly entry: string | undefined;
  readonly tensors: number;
  readonly bytes: number;
  /** What the reference's own classes do not have, a sentence each. */
  readonly notes: readonly string[];
}

/**
 * Writes a network as the reference's checkpoint, for `torch.load(path, weights_only=True)`: a CLIP as a bare state dict,
 * a VQGAN or GPT under `model`, with the GPT's causal masks, which are buffers there. One tensor is in memory at a time.
 */
export async function exportTorch({ config, weights }: ModelFolder, path: string): Promise<TorchReport> {
  const sources: TorchSource[] = Array.from(weights.entries.values(), ({ name, dtype, shape }) => ({
    name,
    dtype,
    shape,
    load: () => weights.read(name),
  }));
  if (config.model === 'gpt') {
    const known = new Set(sources.map(({ name }) => name));
    sources.push(...causalMasks(config).filter(({ name }) => !known.has(name)));
  }
  const entry = config.model === 'clip' ? undefined : 'model';
  await writeTorchCheckpoint(path, sources, { entry });
  const bytes = [...weights.entries.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
  return { entry, tensors: sources.length, bytes, notes: beyondReference(config) };
}

/** `blocks.N.mask`, bool (T, T): true above the diagonal. */
function causalMasks({ layers, tokens }: GptConfig): TorchSource[] {
  const load = (): Promise<Tensor> => {
    const mask = new Uint8Array(tokens * tokens);
    for (let row = 0; row < tokens; row++) mask.fill(1, row * tokens + row + 1, (row + 1) * tokens);
    return Promise.resolve(tensor('bool', [tokens, tokens], mask));
  };
  return Array.from({ length: layers }, (_, i) => {
    return { name: `blocks.${i}.mask`, dtype: 'bool', shape: [tokens, tokens], load };
  });
}

function beyondReference(config: ModelConfig): string[] {
  const has: (readonly [boolean, string])[] =
    config.model === 'vqgan'
      ? [
          [config.patchSize > 1, 'pictures are folded before the first convolution (patchSize)'],
          [config.patchEncoder !== undefined, 'its encoder sees a patch at a time (patchEncoder)'],
          [config.latentSize !== undefined, 'its latents are not as wide as its codes (latentSize)'],
          [
            config.normEpsilon !== undefined && config.normEpsilon !== 1e-5,
            `GroupNorm has epsilon ${config.normEpsilon}`,
          ],
          [config.codeChoice === 'projection', 'codes are chosen by projection (codeChoice)'],
        ]
      : [[config.model === 'clip' && config.activation === 'gelu', 'its perceptrons have GELU']];
  return has.filter(([differs]) => differs).map(([, what]) => `the reference's classes do not have this: ${what}`);
}
