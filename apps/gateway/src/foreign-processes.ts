import { execFile, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { ClipGenError } from '@clip-gen/errors';

/** The repository's root; examples run there. */
export const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

/** A process that a spec has started, and what it said when it was ready. */
export interface StartedProcess {
  readonly ready: RegExpExecArray;
  /** Ends it, and waits until it has. */
  stop(): Promise<void>;
}

/** Starts a program in the root and reads its output until a line says that it is ready. @throws when it ends before */
export async function startProcess(
  program: string,
  flags: readonly string[],
  { ready, onLine }: { readonly ready: RegExp; readonly onLine?: (line: string) => void },
): Promise<StartedProcess> {
  const child: ChildProcess = spawn(program, flags, { cwd: ROOT, stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  const found = await new Promise<RegExpExecArray>((resolve, reject) => {
    createInterface({ input: child.stdout! }).on('line', (line) => {
      onLine?.(line);
      const match = ready.exec(line);
      if (match) resolve(match);
    });
    exited.then(() => reject(new ClipGenError('internal', `${program} ended before it was ready`)), reject);
  });
  return {
    ready: found,
    async stop() {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

/** Runs an example in the root to its end; its output. @throws with what it wrote when it fails */
export async function runExample(program: string, flags: readonly string[]): Promise<string> {
  return (await promisify(execFile)(program, flags, { cwd: ROOT })).stdout;
}

/** The first of these programs that runs with these flags; undefined where none does. */
export function findProgram(programs: readonly string[], flags: readonly string[]): string | undefined {
  return programs.find((program) => spawnSync(program, flags, { stdio: 'ignore' }).status === 0);
}
