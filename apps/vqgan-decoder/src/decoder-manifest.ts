import { open } from 'node:fs/promises';
import { dirname, isAbsolute, join, normalize, resolve } from 'node:path';
import { ClipGenError } from '@clip-gen/errors';
import { z } from 'zod';

const MAX_MANIFEST_BYTES = 1 << 16;
/** What protobuf can hold. */
const MAX_ONNX_BYTES = 2 ** 31 - 1;

const side = z.strictObject({ height: z.int().min(1).max(1024), width: z.int().min(1).max(1024) });
const pixels = z.strictObject({ height: z.int().min(1).max(8192), width: z.int().min(1).max(8192) });

/** What a `decoder.json` says about the ONNX file beside it. */
export const decoderManifestSchema = z.strictObject({
  /** By which a request chooses the decoder. */
  name: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'must be letters, digits, ".", "_" and "-", 64 at most'),
  /** File name, in the manifest's folder or below. */
  onnx: z.string().min(1).max(4096),
  grid: side,
  codebookSize: z
    .int()
    .min(1)
    .max(1 << 24),
  image: pixels,
  /** Name of the graph's one input, int64 (1, height · width of the grid). */
  input: z.string().min(1).max(1024),
  /** Name of the output, float32 (1, 3, height, width of the image). */
  output: z.string().min(1).max(1024),
  /** Values of black and of full brightness. */
  range: z
    .tuple([z.number(), z.number()])
    .refine(([low, high]) => high > low, 'must be [lowest, highest] with highest above lowest'),
});

export type DecoderManifest = z.infer<typeof decoderManifestSchema>;

/** A manifest and the file that it speaks of. */
export interface ReadDecoderManifest {
  readonly manifest: DecoderManifest;
  /** Absolute. */
  readonly folder: string;
  /** The ONNX file's bytes, the caller's. */
  readonly onnx: Buffer;
}

/**
 * Reads a manifest and its ONNX file. The file must lie in the manifest's folder or below.
 *
 * @throws not_found; resource_exhausted for a file past its limit; data_corrupt for what is no manifest, naming the field
 */
export async function readDecoderManifest(path: string): Promise<ReadDecoderManifest> {
  const full = resolve(path);
  const text = (await readBytes(full, MAX_MANIFEST_BYTES)).toString('utf8');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new ClipGenError('data_corrupt', `${full} must be JSON`, { cause });
  }
  const parsed = decoderManifestSchema.safeParse(value);
  if (!parsed.success) {
    const issues = parsed.error.issues.slice(0, 4).map(({ path: at, message }) => [at.join('.'), message].join(' '));
    throw new ClipGenError('data_corrupt', `${full} is no decoder manifest: ${issues.join('; ')}`);
  }
  const manifest = parsed.data;
  const file = normalize(manifest.onnx);
  if (isAbsolute(file) || file.split(/[\\/]/)[0] === '..') {
    throw new ClipGenError('data_corrupt', `${full}: onnx must name a file in this folder; got ${manifest.onnx}`);
  }
  const folder = dirname(full);
  return { manifest, folder, onnx: await readBytes(join(folder, file), MAX_ONNX_BYTES) };
}

async function readBytes(path: string, most: number): Promise<Buffer> {
  const file = await open(path, 'r').catch((cause: unknown) => {
    throw new ClipGenError('not_found', `${path} cannot be read; name a decoder manifest and its ONNX file`, { cause });
  });
  try {
    const stat = await file.stat();
    if (!stat.isFile()) throw new ClipGenError('not_found', `${path} is no file; name a decoder manifest`);
    if (stat.size > most) {
      throw new ClipGenError('resource_exhausted', `${path} must have at most ${most} bytes; got ${stat.size}`);
    }
    return await file.readFile();
  } finally {
    await file.close();
  }
}
