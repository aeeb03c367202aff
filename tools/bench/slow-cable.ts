import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const SCRIPT = fileURLToPath(new URL('./slow-cable.py', import.meta.url));

/** Two network namespaces, as two machines far from each other. Needs root, `ip` and Python. */
export class SlowCable {
  readonly namespaces: readonly [string, string];
  readonly addresses = ['10.231.8.1', '10.231.8.2'] as const;
  #carrier: ChildProcess | undefined;

  private constructor(id: number) {
    this.namespaces = [`slow-a-${id}`, `slow-b-${id}`];
  }

  /** @param delayMs each way. @throws when namespaces or TUN devices may not be made here */
  static async lay(delayMs: number, megabits: number): Promise<SlowCable> {
    const cable = new SlowCable(process.pid);
    try {
      for (const name of cable.namespaces) {
        ip('netns', 'add', name);
        ip('-n', name, 'link', 'set', 'lo', 'up');
      }
      const python = process.env['CLIP_GEN_PYTHON'] ?? 'python3';
      const ends = cable.namespaces.flatMap((name, i) => [name, cable.addresses[i]!]);
      const carrier = spawn(python, [SCRIPT, ...ends, String(delayMs), String(megabits)], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      cable.#carrier = carrier;
      const said = once(createInterface({ input: carrier.stdout }), 'line').then(() => true);
      const ended = once(carrier, 'exit').then(() => false);
      if (!(await Promise.race([said, ended]))) throw new Error('the slow cable cannot be laid: it needs root and TUN');
      return cable;
    } catch (error) {
      cable.remove();
      throw error;
    }
  }

  /** Words in front of a command that run it at one end. */
  at(end: 0 | 1): readonly string[] {
    return ['ip', 'netns', 'exec', this.namespaces[end]];
  }

  remove(): void {
    this.#carrier?.kill();
    for (const name of this.namespaces) spawnSync('ip', ['netns', 'del', name]);
  }
}

function ip(...words: string[]): void {
  const { status, stderr } = spawnSync('ip', words, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`ip ${words.join(' ')}: ${stderr}`);
}
