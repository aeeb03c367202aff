import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { ClipGenError, invalidArgument } from '@clip-gen/errors';
import sharp from 'sharp';
import { buildDataset } from './dataset.ts';

const HELP = `Make the captioned emoji picture data set.

  npm run build --prefix tools/emoji -- [options]

  --out FOLDER   where to put it; a path from where you call npm; default data/emoji
  --size N       width and height of a picture in pixels, 16 to 512; default 64
  --jobs N       icons drawn at once, 1 to 64; default: one per processor
  --help         this text
`;

interface Settings {
  readonly out: string;
  readonly size: number;
  readonly jobs: number;
}

/** Read the command line; undefined when help was asked for. */
function readSettings(argv: readonly string[]): Settings | undefined {
  const values = parse(argv);
  if (values.help === true) return undefined;
  // npm runs scripts in the package's folder and says in INIT_CWD where it was called.
  const from = process.env.INIT_CWD ?? process.cwd();
  const out = values.out ?? 'data/emoji';
  if (out === '') throw invalidArgument('--out', 'the path of a folder', out);
  return {
    out: resolve(from, out),
    size: integer('--size', values.size ?? '64', 16, 512),
    jobs: integer('--jobs', values.jobs ?? String(Math.min(64, availableParallelism())), 1, 64),
  };
}

function parse(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      options: {
        out: { type: 'string' },
        size: { type: 'string' },
        jobs: { type: 'string' },
        help: { type: 'boolean' },
      },
    }).values;
  } catch (cause) {
    const reason = cause instanceof Error ? (cause.message.split('. ')[0] ?? '') : String(cause);
    throw new ClipGenError('invalid_argument', `${reason}; see --help`, { cause });
  }
}

function integer(option: string, text: string, low: number, high: number): number {
  const value = /^\d{1,6}$/.test(text) ? Number(text) : NaN;
  if (!(value >= low && value <= high)) throw invalidArgument(option, `an integer in [${low}, ${high}]`, text);
  return value;
}

function showProgress(done: number, total: number): void {
  const line = `${done} of ${total} pictures`;
  if (process.stderr.isTTY) process.stderr.write(`\r${line}${done === total ? '\n' : ''}`);
  else if (done === total) process.stderr.write(`${line}\n`);
}

try {
  const settings = readSettings(process.argv.slice(2));
  if (settings === undefined) {
    process.stdout.write(HELP);
  } else {
    // One thread an icon: pictures this small gain from many at once, not from threads inside one.
    sharp.concurrency(1);
    const manifest = await buildDataset(settings.out, { ...settings, onProgress: showProgress });
    process.stdout.write(`${settings.out}: ${JSON.stringify(manifest.counts)}\n`);
  }
} catch (error) {
  if (!(error instanceof ClipGenError)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
}
