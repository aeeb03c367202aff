import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { environment } from '../config.ts';
import { freePort } from './free-port.ts';
import { Launcher } from './launcher.ts';
import type { RankReport, RankTraining } from './training-rank.ts';

// For tests: trainings in several processes.

const PROGRAM = fileURLToPath(new URL('./training-rank.ts', import.meta.url));

/** Runs trainings one after the other in several processes; what each rank says of each, and what the launcher says. */
export async function launchTrainings(
  processes: number,
  trainings: readonly RankTraining[],
  maxRestarts = 0,
): Promise<{ readonly reports: RankReport[][]; readonly lines: readonly string[] }> {
  const lines: string[] = [];
  const code = await new Launcher({
    command: [process.execPath, '--import', 'tsx', PROGRAM, JSON.stringify(trainings)],
    env: environment(),
    firstRank: 0,
    localWorldSize: processes,
    worldSize: processes,
    rendezvous: `127.0.0.1:${await freePort()}`,
    token: 'only for tests',
    maxRestarts,
    print: (line) => lines.push(line),
  }).run();
  expect(code, lines.join('\n')).toBe(0);
  const reports = await Promise.all(
    trainings.map(({ out, report }) =>
      Promise.all(
        Array.from(
          { length: processes },
          async (_, rank) => JSON.parse(await readFile(join(out, `${report}-${rank}.json`), 'utf8')) as RankReport,
        ),
      ),
    ),
  );
  return { reports, lines };
}

/** Both processes say the same, and what one process says to rounding. */
export function expectAlike(parts: readonly RankReport[], whole: RankReport, relative: number): void {
  for (const part of parts) {
    expect(part.state).toEqual(parts[0]!.state);
    expect(part.metrics).toEqual(parts[0]!.metrics);
    expect(part.metrics).toHaveLength(whole.metrics.length);
    whole.metrics.forEach((metrics, step) => {
      for (const [name, value] of Object.entries(metrics)) {
        expectNear(part.metrics[step]![name]!, value, relative, `${name} of step ${step}`);
      }
    });
    expectNear(part.bestScore!, whole.bestScore!, relative, 'the best score');
  }
}

function expectNear(actual: number, expected: number, relative: number, what: string): void {
  const distance = Math.abs(actual - expected);
  expect(distance, `${what}: ${actual} for ${expected}`).toBeLessThanOrEqual(1e-6 + relative * Math.abs(expected));
}
