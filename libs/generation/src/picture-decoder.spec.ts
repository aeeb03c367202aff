import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { tensorToImages } from '@clip-gen/image';
import { initialize } from '@clip-gen/nn';
import { writeSafetensors } from '@clip-gen/safetensors';
import { tensor, type Tensor } from '@clip-gen/tensor';
import { temporaryFolder } from '@clip-gen/testing';
import { gridSide, VQGAN_PRESETS, vqganConfigSchema, type VqganConfig } from '@clip-gen/vqgan';
import { describe, expect, it } from 'vitest';
import { createPartSession } from './model-part.ts';
import { openVqganPart, vqganParameters, type VqganPart } from './model-parts.ts';
import { PictureDecoder, pictureDecoderGraph } from './picture-decoder.ts';

const released = vqganConfigSchema.parse(VQGAN_PRESETS['vqgan-f16-16384']);
const narrow = { ...released, channels: 32, groups: 8, codebookSize: 64, codeSize: 16, blocks: 1 };
const CONFIGS: Readonly<Record<string, VqganConfig>> = {
  'a large picture, in blocks': { ...narrow, imageSize: 192, attentionSides: [12] },
  'a large picture whose channels fill no blocks': {
    ...narrow,
    imageSize: 192,
    channels: 24,
    multipliers: [1, 1, 1, 1, 2],
  },
  'small pictures, in a batch': { ...narrow, imageSize: 64, attentionSides: [4] },
};

async function randomPart(config: VqganConfig): Promise<VqganPart> {
  const folder = await temporaryFolder();
  await writeFile(join(folder, 'config.json'), JSON.stringify(config));
  await writeSafetensors(join(folder, 'model.safetensors'), initialize(vqganParameters(config), 2));
  return openVqganPart(folder);
}

describe.each(Object.entries(CONFIGS))('%s', (_, config) => {
  const side = gridSide(config);
  const grids = [1, 2, 3].map((k) => Array.from({ length: side * side }, (_, i) => (i * 7 * k) % config.codebookSize));

  it('is the same alone and among others, and what standard operators decode', async () => {
    const part = await randomPart(config);
    const decoder = await PictureDecoder.open(part, { threads: 1 });
    const plain = await createPartSession(part, pictureDecoderGraph(config).graph, { threads: 1 });
    try {
      const together = await decoder.decodeAll(grids);
      expect(together.length).toBe(grids.length);
      for (const [i, grid] of grids.entries()) {
        expect(await decoder.decode(grid)).toEqual(together[i]);
        const tokens = tensor('int64', [1, grid.length], BigInt64Array.from(grid, BigInt));
        const { pixels } = await plain.run({ tokens });
        const reference = tensorToImages(pixels as Tensor<'float32'>)[0]!;
        const apart = together[i]!.data.filter((level, at) => Math.abs(level - reference.data[at]!) > 1);
        expect(apart.length).toBe(0);
      }
      expect(together[0]!.data).not.toEqual(together[1]!.data);
    } finally {
      await plain.close();
      await decoder.close();
    }
  });
});
