import { access, constants, stat } from 'node:fs/promises';
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
}

export interface OutputRequest {
  readonly prompt: string;
  readonly pictures: number;
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
  const { out, format, pictures } = request;
  const main = out === undefined ? await freeName(request) : withExtension(out, format);
  const folder = dirname(main);
  await checkWritable(folder);
  const extension = extname(main);
  const stem = join(folder, basename(main, extension));
  const numbered = Array.from({ length: pictures }, (_, i) => `${stem}-${i + 1}${extension}`);
  const files = { format: FORMATS[extension.toLowerCase()]!, main, pictures: pictures === 1 ? [main] : numbered };
  for (const file of new Set([main, ...files.pictures])) {
    const existing = await stat(file).catch(() => undefined);
    if (existing && !existing.isFile()) throw invalidArgument('--out', 'a file', `${file}, which is a folder`);
  }
  return files;
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

/** `a-slice-of-pizza.png`; with the seed where that is taken. */
async function freeName({ prompt, seed, format = 'png' }: OutputRequest): Promise<string> {
  const words = prompt
    .normalize('NFKD')
    .toLowerCase()
    .replace(/\p{M}/gu, '')
    .replace(/[^\p{L}\p{N}]+/gu, '-')
    .replace(/^-+|-+$/g, '');
  const stem = [...words].slice(0, 60).join('').replace(/-+$/, '') || 'picture';
  const first = `${stem}.${format}`;
  const taken = await stat(first).catch(() => undefined);
  return taken ? `${stem}-seed${seed}.${format}` : first;
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
