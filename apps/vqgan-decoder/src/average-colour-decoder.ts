import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { encodeModel, gather, GraphBuilder, reshape, transpose, upsampleNearest } from '@clip-gen/graph';
import type { CallOptions } from '@clip-gen/generation';
import { tensor } from '@clip-gen/tensor';
import type { DecoderManifest } from './decoder-manifest.ts';
import type { TokenGridDecoder } from './token-grid-decoder.ts';

const FILE = 'average-colour.onnx';
const MANIFEST = 'decoder.json';
/** Grids of one colour that are decoded together. */
const TOGETHER = 16;

/**
 * Writes a decoder of a few kilobytes that shows each code as a tile of the average colour that another decoder gives it:
 * an ONNX file with its manifest. The smallest example of a decoder that can be swapped in, and a preview that costs
 * nothing.
 *
 * @param decoder has a square grid and a picture of a whole number of pixels a tile
 * @returns the manifest's path
 */
export async function writeAverageColourDecoder(
  decoder: TokenGridDecoder,
  folder: string,
  options: CallOptions = {},
): Promise<string> {
  const { grid, image, codebookSize } = decoder.description;
  const colours = await averageColours(decoder, options);
  const graph = new GraphBuilder('average-colour');
  const table = graph.constant(tensor('float32', [codebookSize, 3], colours));
  const tokens = graph.input('tokens', 'int64', [1, grid.height * grid.width]);
  const tiles = reshape(gather(table, tokens), [1, grid.height, grid.width, 3]);
  const small = transpose(tiles, [0, 3, 1, 2]); // (1, 3, g, g)
  graph.output('pixels', upsampleNearest(small, image.height / grid.height)); // (1, 3, S, S)
  const manifest: DecoderManifest = {
    name: 'average-colour',
    onnx: FILE,
    grid,
    codebookSize,
    image,
    input: 'tokens',
    output: 'pixels',
    range: [0, 1],
  };
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, FILE), encodeModel(graph));
  const path = join(folder, MANIFEST);
  await writeFile(path, `${JSON.stringify(manifest, null, 2)}\n`);
  return path;
}

/** float32 (K, 3) in [0, 1]: the mean colour of the picture that shows one code alone. */
async function averageColours(decoder: TokenGridDecoder, options: CallOptions): Promise<Float32Array> {
  const { grid, codebookSize } = decoder.description;
  const colours = new Float32Array(codebookSize * 3);
  for (let from = 0; from < codebookSize; from += TOGETHER) {
    const grids = Array.from({ length: Math.min(TOGETHER, codebookSize - from) }, (_, i) =>
      new Int32Array(grid.height * grid.width).fill(from + i),
    );
    for (const [i, { data }] of (await decoder.decode(grids, options)).entries()) {
      const sums = [0, 0, 0];
      for (let at = 0; at < data.length; at++) sums[at % 3]! += data[at]!;
      colours.set(
        sums.map((sum) => sum / (data.length / 3) / 255),
        (from + i) * 3,
      );
    }
  }
  return colours;
}
