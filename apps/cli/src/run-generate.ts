import { randomInt } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { ClipGenError } from '@clip-gen/errors';
import {
  generate,
  loadModel,
  openModelParts,
  REQUEST_DEFAULTS,
  tokenizePrompt,
  validateRequest,
  type ModelDecoder,
  type Progress,
  type RankedPicture,
} from '@clip-gen/generation';
import type { RgbImage } from '@clip-gen/image';
import { writeBytes, writeWhole } from '@clip-gen/whole-file';
import { readConfig, type Config } from './config.ts';
import { interruptible } from './interruption.ts';
import { planOutput, type FormatName, type OutputFiles } from './output-files.ts';
import { PartialPictures, planPartials } from './partial-pictures.ts';
import { startProgressBar } from './terminal/progress-bar.ts';
import { halfBlocks, inlinePicture } from './terminal/show-picture.ts';

export const SAVED_KERNELS = ['cubic', 'lanczos', 'nearest'] as const;

/** The flags of `generate`, parsed. */
export interface GenerateFlags {
  readonly n: number;
  readonly candidates?: number;
  readonly seed?: number;
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly guidance?: number;
  readonly model?: string;
  readonly decoder: ModelDecoder;
  readonly partialImages: number;
  readonly partialDecoder?: ModelDecoder;
  readonly out?: string;
  readonly format?: FormatName;
  readonly size?: number;
  readonly kernel: (typeof SAVED_KERNELS)[number];
  readonly threads?: number;
  /** Undefined: where the terminal has a picture protocol. */
  readonly preview?: boolean;
}

/** Side that small pictures are enlarged to, by a whole factor, unless --size says otherwise. */
const COMFORTABLE_SIDE = 256;
const PREVIEW_SIDE = 32;

/** Makes, saves and reports the pictures. Everything that can be refused is refused before the model is loaded. */
export async function runGenerate(prompt: string, flags: GenerateFlags): Promise<void> {
  const config = readConfig();
  const seed = flags.seed ?? randomInt(2 ** 32);
  const asked = {
    prompt,
    pictures: flags.n,
    candidates: flags.candidates ?? flags.n,
    seed,
    temperature: flags.temperature,
    topK: flags.topK,
    topP: flags.topP,
    guidance: flags.guidance,
  };
  validateRequest(asked); // what holds for every model, before files are looked for
  const files = await planOutput({ ...flags, prompt, pictures: flags.n, seed });
  const folder = flags.model ?? config.modelFolder;
  const parts = await openModelParts(folder, { decoder: flags.decoder });
  const { decoder, partialImages, partialDecoder, threads } = flags;
  const openPartials = await planPartials({ model: folder, count: partialImages, decoder, partialDecoder }, parts);
  const usual = parts.defaults.candidates ?? REQUEST_DEFAULTS.candidates;
  const request = { ...asked, candidates: flags.candidates ?? Math.max(usual, flags.n) };
  validateRequest(request, parts.gpt.config.vocabularySize, parts.defaults);
  tokenizePrompt(parts.clip, prompt);
  await interruptible(async (signal) => {
    const bar = await startProgressBar();
    try {
      const model = await loadModel(parts, { threads });
      const partialsBy = await openPartials({ threads }).catch(async (error: unknown) => {
        await model.close();
        throw error;
      });
      const native = parts.vqgan.config.imageSize;
      const partials = new PartialPictures(partialImages, model, partialsBy, async (index, image) =>
        save(files.partials[index]!, await enlarge(image, flags, native), files),
      );
      try {
        const told = (progress: Progress): void => {
          bar.update(progress);
          partials.update(progress);
        };
        const { pictures } = await generate(model, request, told, { signal });
        const saved = await savePictures(pictures, files, flags, native);
        await partials.finish(); // after that: what goes wrong with these must not lose the pictures
        bar.stop();
        await preview(saved, flags.preview, config);
        report(
          pictures,
          { ...files, partials: files.partials.slice(0, partials.begun) },
          seed,
          flags.seed === undefined,
        );
      } finally {
        await partials.finish().catch(() => undefined); // what runs must not lose its network
        await Promise.all([model.close(), partialsBy?.close()]);
      }
    } finally {
      bar.stop();
    }
  });
}

/** Writes the files; returns the main one's picture. */
async function savePictures(
  pictures: readonly RankedPicture[],
  files: OutputFiles,
  flags: GenerateFlags,
  native: number,
): Promise<RgbImage> {
  const { contactSheet } = await import('@clip-gen/image');
  const enlarged: RgbImage[] = [];
  for (const { image } of pictures) enlarged.push(await enlarge(image, flags, native));
  for (const [i, path] of files.pictures.entries()) await save(path, enlarged[i]!, files);
  if (enlarged.length === 1) return enlarged[0]!;
  const sheet = await contactSheet(enlarged, { gap: 8 });
  await save(files.main, sheet, files);
  return sheet;
}

/** The picture at the side that it is saved with. */
async function enlarge(image: RgbImage, { size, kernel }: GenerateFlags, native: number): Promise<RgbImage> {
  const side = size ?? native * Math.max(1, Math.ceil(COMFORTABLE_SIDE / native));
  if (image.width === side) return image;
  const { resizeImage } = await import('@clip-gen/image');
  return resizeImage(image, { width: side, height: side }, kernel === 'lanczos' ? 'lanczos3' : kernel);
}

async function save(path: string, image: RgbImage, { format, replace }: OutputFiles): Promise<void> {
  const { encodeImage } = await import('@clip-gen/image');
  const bytes = await encodeImage(image, { format });
  if (replace) return writeWhole(path, (file) => writeBytes(file, bytes));
  await writeFile(path, bytes, { flag: 'wx' }).catch((cause: unknown) => {
    const reason = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
    throw new ClipGenError('failed_precondition', `${path} cannot be written (${reason})`, { cause });
  });
}

async function preview(image: RgbImage, asked: boolean | undefined, config: Config): Promise<void> {
  if (asked === false || !process.stdout.isTTY) return;
  const { encodeImage, resizeImage } = await import('@clip-gen/image');
  if (config.pictureProtocol) {
    process.stdout.write(inlinePicture(await encodeImage(image, { format: 'png' }), config.pictureProtocol));
  } else if (asked && config.trueColour) {
    const scale = Math.min(1, (PREVIEW_SIDE * 2) / Math.max(image.width, image.height));
    const small = { width: Math.round(image.width * scale), height: Math.round(image.height * scale) };
    process.stdout.write(halfBlocks(await resizeImage(image, small)));
  }
}

function report(pictures: readonly RankedPicture[], files: OutputFiles, seed: number, drawn: boolean): void {
  const width = Math.max(...files.pictures.map((path) => path.length));
  pictures.forEach(({ score, candidate }, i) => {
    const path = files.pictures[i]!.padEnd(width);
    process.stdout.write(`${path}  score ${score.toFixed(3)}  seed ${seed}  candidate ${candidate}\n`);
  });
  if (files.partials.length > 0) process.stdout.write(`${files.partials.join(', ')}  on the way, of candidate 0\n`);
  if (files.pictures.length > 1) process.stdout.write(`${files.main}  all ${files.pictures.length} on one sheet\n`);
  if (drawn) process.stderr.write(`the same again: --seed ${seed}\n`);
}
