import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/**
 * How idle OpenMP threads of the peer wait: `default` as PyTorch comes, `passive` asleep at once, so that they burn no
 * core during our turns nor, where the cores are few, during their own. Which is faster depends on the machine.
 */
export type OmpWaiting = 'default' | 'passive';

/** A Python process that answers one line of JSON with another. */
export interface TorchPeer {
  /** What it said first: its version of PyTorch and whatever else. */
  readonly hello: Readonly<Record<string, unknown>>;
  ask<T>(request: Readonly<Record<string, unknown>>): Promise<T>;
  close(): void;
}

export const PYTHON = process.env['CLIP_GEN_PYTHON'] ?? 'python3';

/** Starts a script of this folder; undefined, with advice, where there is no PyTorch. */
export async function startTorch(
  script: string,
  argument: unknown,
  waiting: OmpWaiting = 'passive',
): Promise<TorchPeer | undefined> {
  const passive = { GOMP_SPINCOUNT: '0', OMP_WAIT_POLICY: 'PASSIVE', KMP_BLOCKTIME: '0' };
  const env = { ...process.env, PYTHONDONTWRITEBYTECODE: '1', ...(waiting === 'passive' ? passive : {}) };
  const path = fileURLToPath(new URL(script, import.meta.url));
  const child = spawn(PYTHON, [path, JSON.stringify(argument)], { env, stdio: ['pipe', 'pipe', 'pipe'] });
  let complaint = '';
  child.stderr.on('data', (chunk: Buffer) => (complaint = (complaint + String(chunk)).slice(-4000)));
  child.on('error', () => undefined); // shows as an end of output below
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const answer = async <T>(): Promise<T | undefined> => {
    const line: IteratorResult<string, unknown> = await lines.next();
    return line.done ? undefined : (JSON.parse(line.value) as T);
  };
  const hello = await answer<Record<string, unknown>>();
  if (!hello) {
    const reason = complaint.trim().split('\n').at(-1) ?? '';
    console.log(`no peer: ${PYTHON} ${script} did not start${reason ? ` (${reason})` : ''}`);
    console.log('install PyTorch (pip install torch numpy) or name another Python by CLIP_GEN_PYTHON');
    return undefined;
  }
  return {
    hello,
    async ask<T>(request: Readonly<Record<string, unknown>>) {
      child.stdin.write(`${JSON.stringify(request)}\n`);
      const reply = await answer<T>();
      if (reply === undefined) throw new Error(`${script} ended early: ${complaint}`);
      return reply;
    },
    close: () => child.stdin.end(),
  };
}
