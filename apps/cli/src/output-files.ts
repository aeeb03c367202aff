import { access, constants, lstat, stat } from 'node:fs/promises';
import { basename, dirname, extname, join } from 'node:path';
import { ClipGenError, invalidArgument } from '@clip-gen/errors';

/** Formats that pictures are saved in, by the ending of the file. */
const FORMATS: Readonly<Record<string, 'png' | 'jpeg' | 'webp'>> = {
  '.png': 'png',
  '.jpg': 'jpeg',
  '.jpeg': 'jpeg',
  '.webp': 'webp',
};
export const FORMAT_NAMES = ['png', 'jpg', 'webp'] as const;
export type FormatName = (typeof FORMAT_NAMES)[number];

/** Where the pictures of one run go. */
export interface OutputFiles {
  readonly format: 'png' | 'jpeg' | 'webp';
  /** The picture; the contact sheet when there are several. */
  readonly main: string;
  /** One file a picture, best first: `main` alone, or `NAME-1.png`, `NAME-2.png`, … */
  readonly pictures: readonly string[];
  /** `NAME-partial-1.png`, …, in the order in which they are made. */
  readonly partials: readonly string[];
  /** The file was named by --out, and may be replaced. */
  readonly replace: boolean;
}

/** Of file systems. */
const MAX_NAME_BYTES = 255;
/** Bytes of a name that was made from the prompt, without seed, number and ending: with them at most 200. */
const MAX_STEM_BYTES = 160;
const MAX_STEM_CHARACTERS = 60;

export interface OutputRequest {
  readonly prompt: string;
  readonly pictures: number;
  /** Pictures on the way; default 0. */
  readonly partialImages?: number;
  readonly seed: number;
  /** The file that was asked for; none: a name from the prompt, in the working folder, that overwrites nothing. */
  readonly out?: string;
  readonly format?: FormatName;
}

/**
 * Decides the files' names and checks that they can be written. Writes nothing.
 *
 * @throws invalid_argument for an ending that is no format, or one that `format` contradicts; not_found or
 * failed_precondition for a folder that is missing or not writable
 */
export async function planOutput(request: OutputRequest): Promise<OutputFiles> {
  const { out, format, pictures, partialImages = 0 } = request;
  if (out === undefined) {
    await checkWritable('.');
    return freeNames(request);
  }
  const main = withExtension(out, format);
  await checkWritable(dirname(main));
  const files = { ...namesFrom(main, pictures, partialImages), replace: true };
  for (const file of new Set(allOf(files))) {
    const bytes = Buffer.byteLength(basename(file));
    if (bytes > MAX_NAME_BYTES) throw invalidArgument('--out', `a name of at most ${MAX_NAME_BYTES} bytes`, bytes);
    const existing = await stat(file).catch(() => undefined);
    if (existing && !existing.isFile()) throw invalidArgument('--out', 'a file', `${file}, which is a folder`);
  }
  return files;
}

type Names = Omit<OutputFiles, 'replace'>;

function allOf({ main, pictures, partials }: Names): string[] {
  return [main, ...pictures, ...partials];
}

function namesFrom(main: string, count: number, partialImages: number): Names {
  const extension = extname(main);
  const stem = join(dirname(main), basename(main, extension));
  const numbered = (name: string, length: number): string[] =>
    Array.from({ length }, (_, i) => `${name}-${i + 1}${extension}`);
  return {
    format: FORMATS[extension.toLowerCase()]!,
    main,
    pictures: count === 1 ? [main] : numbered(stem, count),
    partials: numbered(`${stem}-partial`, partialImages),
  };
}

function withExtension(out: string, format: FormatName | undefined): string {
  if (out === '' || out.endsWith('/')) throw invalidArgument('--out', 'the path of a file such as pizza.png', out);
  const extension = extname(out);
  if (extension === '') return `${out}.${format ?? 'png'}`;
  const named = FORMATS[extension.toLowerCase()];
  if (named === undefined) throw invalidArgument('--out', 'a .png, .jpg, .jpeg or .webp file', out);
  if (format !== undefined && FORMATS[`.${format}`] !== named) {
    throw invalidArgument('--format', `${extension.slice(1)}, as --out says, or left out`, format);
  }
  return out;
}

/** `a-slice-of-pizza.png`; with the seed, then a number too, where one of the files is there already. */
async function freeNames({
  prompt,
  seed,
  pictures,
  partialImages = 0,
  format = 'png',
}: OutputRequest): Promise<OutputFiles> {
  const stem = stemFrom(prompt);
  for (let attempt = 0; ; attempt++) {
    const suffix = attempt === 0 ? '' : `-seed${seed}${attempt === 1 ? '' : `-${attempt}`}`;
    const files = namesFrom(`${stem}${suffix}.${format}`, pictures, partialImages);
    const found = await Promise.all(allOf(files).map((file) => lstat(file).catch(() => undefined)));
    if (found.every((entry) => entry === undefined)) return { ...files, replace: false };
  }
}

/** The prompt's letters and digits, words joined by `-`; cut between characters. */
function stemFrom(prompt: string): string {
  const words = prompt
    .normalize('NFKD')
    .toLowerCase()
    .replace(/\p{M}/gu, '')
    .replace(/[^\p{L}\p{N}]+/gu, '-')
    .replace(/^-+|-+$/g, '');
  let stem = '';
  for (const character of [...words].slice(0, MAX_STEM_CHARACTERS)) {
    if (Buffer.byteLength(stem + character) > MAX_STEM_BYTES) break;
    stem += character;
  }
  return stem.replace(/-+$/, '') || 'picture';
}

async function checkWritable(folder: string): Promise<void> {
  const found = await stat(folder).catch(() => undefined);
  if (!found) throw new ClipGenError('not_found', `--out: the folder ${folder} does not exist; make it first`);
  if (!found.isDirectory()) throw new ClipGenError('failed_precondition', `--out: ${folder} is not a folder`);
  try {
    await access(folder, constants.W_OK | constants.X_OK);
  } catch (cause) {
    throw new ClipGenError('failed_precondition', `--out: the folder ${folder} is not writable`, { cause });
  }
}
