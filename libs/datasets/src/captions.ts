import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { ClipGenError } from '@clip-gen/errors';

/** The file beside the pictures that describes them. */
export const CAPTIONS_FILE = 'captions.jsonl';

const MAX_LINE_LENGTH = 1 << 20;
const MAX_CAPTIONS_A_PICTURE = 1000;
/** Far beyond what any text encoder reads, and within what the tokenizer takes. */
const MAX_CAPTION_LENGTH = 32_768;

/**
 * Reads captions: one JSON object a line, `{"file": "cats/1.png", "captions": ["a cat", "a tabby"]}` or
 * `{"file": "cats/1.png", "caption": "a cat"}`. `file` is relative to the pictures' folder; other keys are ignored, as
 * are empty lines. A file named twice collects the captions of both lines.
 *
 * @param path the captions file
 * @returns captions by file, at least one each, in the order of the lines
 * @throws not_found; data_corrupt with the line's number
 */
export async function readCaptions(path: string): Promise<Map<string, string[]>> {
  const captions = new Map<string, string[]>();
  const stream = createReadStream(path, { encoding: 'utf8' });
  let lineNumber = 0;
  let pending = 0;
  // readline gathers a line of any length: stop a file without line breaks before it fills the memory.
  stream.on('data', (chunk) => {
    const lastBreak = chunk.lastIndexOf('\n');
    pending = lastBreak < 0 ? pending + chunk.length : chunk.length - lastBreak;
    if (pending > 2 * MAX_LINE_LENGTH) stream.destroy(lineError(path, lineNumber + 1, 'is too long'));
  });
  try {
    const lines = createInterface({ input: stream, crlfDelay: Infinity });
    const failed = new Promise<never>((_, reject) => stream.once('error', reject));
    failed.catch(() => undefined);
    const iterator = lines[Symbol.asyncIterator]();
    for (;;) {
      const next = await Promise.race([iterator.next(), failed]);
      if (next.done) break;
      lineNumber++;
      const line = lineNumber === 1 ? next.value.replace(/^\uFEFF/, '') : next.value;
      if (line.trim() === '') continue;
      const { file, variants } = parseLine(path, lineNumber, line);
      const known = captions.get(file);
      if (known === undefined) captions.set(file, variants);
      else known.push(...variants);
    }
  } catch (cause) {
    if (cause instanceof ClipGenError) throw cause;
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
    if (code === 'ENOENT') throw new ClipGenError('not_found', `captions file ${path} does not exist`, { cause });
    throw new ClipGenError('failed_precondition', `captions file ${path} cannot be read (${String(code)})`, { cause });
  } finally {
    stream.destroy();
  }
  return captions;
}

function parseLine(path: string, lineNumber: number, line: string): { file: string; variants: string[] } {
  if (line.length > MAX_LINE_LENGTH) throw lineError(path, lineNumber, `must have at most ${MAX_LINE_LENGTH} letters`);
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw lineError(path, lineNumber, `must be JSON: ${cause instanceof Error ? cause.message : String(cause)}`);
  }
  if (typeof value !== 'object' || value === null) throw lineError(path, lineNumber, 'must be a JSON object');
  const file = 'file' in value ? value.file : undefined;
  if (typeof file !== 'string' || file === '') throw lineError(path, lineNumber, 'must have a string "file"');
  const normal = file.replaceAll('\\', '/').replace(/^(\.\/)+/, '');
  if (normal.startsWith('/') || normal.split('/').includes('..')) {
    throw lineError(path, lineNumber, `"file" must lie inside the folder; got ${JSON.stringify(file.slice(0, 80))}`);
  }
  const variants: unknown = 'captions' in value ? value.captions : 'caption' in value ? [value.caption] : undefined;
  if (!Array.isArray(variants) || variants.length === 0 || variants.length > MAX_CAPTIONS_A_PICTURE) {
    throw lineError(path, lineNumber, `must have "caption" or 1 to ${MAX_CAPTIONS_A_PICTURE} "captions"`);
  }
  const texts = variants.filter((text): text is string => typeof text === 'string' && text.trim() !== '');
  if (texts.length !== variants.length)
    throw lineError(path, lineNumber, 'must have captions that are non-empty strings');
  const longest = Math.max(...texts.map((text) => text.length));
  if (longest > MAX_CAPTION_LENGTH) {
    throw lineError(path, lineNumber, `must have captions of at most ${MAX_CAPTION_LENGTH} characters; got ${longest}`);
  }
  return { file: normal, variants: texts };
}

function lineError(path: string, lineNumber: number, what: string): ClipGenError {
  return new ClipGenError('data_corrupt', `captions file ${path}, line ${lineNumber} ${what}`);
}
