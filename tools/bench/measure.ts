import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { cpus, loadavg } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs, type ParseArgsConfig } from 'node:util';

/** Something that is timed against others in the same run. */
export interface Contender {
  readonly name: string;
  /** Does the work once; its milliseconds. */
  readonly run: () => Promise<number>;
  /** Milliseconds of the rounds that count. */
  readonly times: number[];
}

export const contender = (name: string, run: Contender['run']): Contender => ({ name, run, times: [] });

export interface Rounds {
  readonly warmup: number;
  /** At least 1. */
  readonly rounds: number;
  /** No further round begins so long after the first that counts; default: none. */
  readonly budgetMs?: number;
}

/** A thread pool that waits for work may still burn a core for some milliseconds after its own turn. */
const REST_MS = 20;

/** Runs the contenders in turn, round after round, so that whatever else the machine does meets all of them. */
export async function interleave(
  contenders: readonly Contender[],
  { warmup, rounds, budgetMs }: Rounds,
): Promise<void> {
  let start = performance.now();
  for (let round = -warmup; round < rounds; round++) {
    if (round === 0) start = performance.now();
    if (round > 0 && budgetMs !== undefined && performance.now() - start > budgetMs) break;
    for (const { run, times } of contenders) {
      await sleep(REST_MS);
      const ms = await run();
      if (round >= 0) times.push(ms);
    }
  }
}

/** Milliseconds of `work`. */
export async function timed(work: () => unknown): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

export function median(times: readonly number[]): number {
  const sorted = times.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export const least = (times: readonly number[]): number => Math.min(...times);

/** The options every bench has, and its own. `--help` prints the comment at the head of the bench and ends. */
export function benchOptions<O extends NonNullable<ParseArgsConfig['options']>>(own: O) {
  if (process.argv.includes('--help')) {
    console.log(headComment(process.argv[1]!));
    process.exit(0);
  }
  const shared = { quick: { type: 'boolean', default: false }, json: { type: 'string' } } as const;
  try {
    return parseArgs({ options: { ...shared, ...own } }).values;
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    console.error(`${error.message}; see --help`);
    process.exit(2);
  }
}

/** What a source file says of itself. */
function headComment(file: string): string {
  const [, text = ''] = /^\/\*\*\n(.*?)\n \*\//s.exec(readFileSync(file, 'utf8')) ?? [];
  return text.replace(/^ \* ?/gm, '');
}

/** Processor, cores and how busy the machine is before the bench: figures mean nothing without them. */
export function machine(): string {
  const [first] = cpus();
  return `${first?.model.trim() ?? 'unknown processor'}, ${cpus().length} threads, load ${loadavg()[0]!.toFixed(1)}`;
}

type Cell = string | number;

/** Prints a table: the first column to the left, the others to the right; numbers with three significant digits. */
export function printTable(head: readonly string[], rows: readonly (readonly Cell[])[]): void {
  const show = (cell: Cell): string =>
    typeof cell === 'string' ? cell : cell.toFixed(Math.abs(cell) >= 100 ? 0 : Math.abs(cell) >= 10 ? 1 : 2);
  const cells = [head, ...rows.map((row) => row.map(show))];
  const widths = head.map((_, column) => Math.max(...cells.map((row) => row[column]!.length)));
  for (const row of cells) {
    const line = row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)));
    console.log(line.join('  ').trimEnd());
  }
}

/** Writes a bench's figures where `--json` asks for them. */
export async function saveFigures(path: string | undefined, figures: Readonly<Record<string, unknown>>): Promise<void> {
  if (path !== undefined) await writeFile(path, `${JSON.stringify({ machine: machine(), ...figures }, null, 2)}\n`);
}
