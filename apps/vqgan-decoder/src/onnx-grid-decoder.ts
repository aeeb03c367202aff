import { createHash } from 'node:crypto';
import { ClipGenError } from '@clip-gen/errors';
import type { CallOptions, EngineOptions } from '@clip-gen/generation';
import { tensorToImages, type Normalisation, type RgbImage } from '@clip-gen/image';
import { createSession, type Session, type TensorInfo } from '@clip-gen/runtime';
import { tensor, type Tensor } from '@clip-gen/tensor';
import { readDecoderManifest, type DecoderManifest } from './decoder-manifest.ts';
import type { DecoderDescription, TokenGridDecoder } from './token-grid-decoder.ts';

/** Any network that turns a grid of codes into a picture, as an ONNX file that a manifest describes. One way only. */
export class OnnxGridDecoder implements TokenGridDecoder {
  readonly description: DecoderDescription;
  readonly #normalisation: Normalisation;

  private constructor(
    private readonly manifest: DecoderManifest,
    weightsSha256: string,
    private readonly session: Session,
  ) {
    const { name, grid, codebookSize, image } = manifest;
    this.description = { name, weightsSha256, grid, codebookSize, image };
    this.#normalisation = rangeNormalisation(manifest.range);
  }

  /**
   * Loads the file that a manifest names, and holds the graph against the manifest. The caller closes it.
   *
   * @throws what `readDecoderManifest` throws; data_corrupt for a file that is no ONNX model; failed_precondition when
   * the graph is not what the manifest says
   */
  static async open(path: string, engine: EngineOptions): Promise<OnnxGridDecoder> {
    const { manifest, folder, onnx } = await readDecoderManifest(path);
    const hash = createHash('sha256').update(onnx).digest('hex');
    const session = await createSession(onnx, { ...engine, externalDataFolder: folder });
    try {
      checkSignature(path, manifest, session);
    } catch (error) {
      await session.close();
      throw error;
    }
    return new OnnxGridDecoder(manifest, hash, session);
  }

  /** One by one: what a batch would do to a foreign graph's results is not known. */
  async decode(grids: readonly Int32Array[], options: CallOptions): Promise<RgbImage[]> {
    const { input, output, image } = this.manifest;
    const images: RgbImage[] = [];
    for (const grid of grids) {
      const tokens = tensor('int64', [1, grid.length], BigInt64Array.from(grid, BigInt));
      const { [output]: pixels } = await this.session.run({ [input]: tokens }, { ...options, fetch: [output] });
      const wanted = [1, 3, image.height, image.width].join();
      if (pixels?.shape.join() !== wanted) {
        const got = pixels?.shape.join(', ');
        throw new ClipGenError('internal', `decoder ${this.description.name} gave [${got}] instead of [${wanted}]`);
      }
      images.push(...tensorToImages(pixels as Tensor<'float32'>, this.#normalisation));
    }
    return images;
  }

  /** Frees the session once running calls are done. */
  close(): Promise<void> {
    return this.session.close();
  }
}

/** `tensorToImages` takes value · std + mean to 0…1. */
function rangeNormalisation([low, high]: readonly [number, number]): Normalisation {
  const std = 1 / (high - low);
  const mean = -low * std;
  return { mean: [mean, mean, mean], std: [std, std, std] };
}

function checkSignature(path: string, manifest: DecoderManifest, session: Session): void {
  const { grid, image } = manifest;
  const problems: string[] = [];
  const check = (
    kind: string,
    infos: readonly TensorInfo[],
    name: string,
    dtype: string,
    shape: readonly number[],
  ): void => {
    const info = infos.find((candidate) => candidate.name === name);
    if (!info) {
      problems.push(`no ${kind} is called ${name} (${infos.map((known) => known.name).join(', ')})`);
      return;
    }
    const fits =
      info.dtype === dtype &&
      info.shape.length === shape.length &&
      info.shape.every((size, i) => typeof size === 'string' || size === shape[i]);
    if (fits) return;
    problems.push(
      `${kind} ${name} must be ${dtype} [${shape.join(', ')}], is ${info.dtype} [${info.shape.join(', ')}]`,
    );
  };
  check('input', session.inputs, manifest.input, 'int64', [1, grid.height * grid.width]);
  check('output', session.outputs, manifest.output, 'float32', [1, 3, image.height, image.width]);
  if (session.inputs.length > 1) problems.push(`the graph must have one input, has ${session.inputs.length}`);
  if (problems.length === 0) return;
  throw new ClipGenError('failed_precondition', `${path} does not describe its ONNX file: ${problems.join('; ')}`);
}
