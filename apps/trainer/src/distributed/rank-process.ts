import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';

/** How a process ended. */
export interface RankEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** Last lines of a process that are kept for the case that it fails. */
const KEPT_LINES = 20;

/** One rank as a process of its own group, so that a terminal's Ctrl-C reaches it through the launcher alone. */
export class RankProcess {
  readonly ended: Promise<RankEnd>;
  /** The epoch that it has joined last; undefined before. */
  epoch: number | undefined;
  /** Whether the others go on without it when it ends. */
  isSpared = false;
  readonly #child: ChildProcess;
  readonly #lines: string[] = [];

  /**
   * @param command program and arguments
   * @param speaks whether its standard output is the launcher's: rank 0's
   * @param onError told of each line on its standard error
   */
  constructor(
    readonly rank: number,
    command: readonly string[],
    env: NodeJS.ProcessEnv,
    speaks: boolean,
    onError: (line: string) => void,
  ) {
    const [program = '', ...words] = command;
    this.#child = spawn(program, words, {
      env,
      detached: true,
      stdio: ['ignore', speaks ? 'inherit' : 'pipe', 'pipe', 'ipc'],
    });
    this.#child.on('message', (message) => {
      if (!isJoined(message)) return;
      this.epoch = message.joined;
      this.isSpared = message.isSpared ?? false;
    });
    forEachLine(this.#child.stderr, onError);
    forEachLine(this.#child.stdout, (line) => {
      this.#lines.push(line);
      if (this.#lines.length > KEPT_LINES) this.#lines.shift();
    });
    this.ended = new Promise((resolve) => {
      this.#child.once('error', (error) => {
        onError(`cannot be started: ${error.message}`);
        resolve({ code: 1, signal: null });
      });
      this.#child.once('close', (code, signal) => resolve({ code, signal }));
    });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** The last lines that it printed where it does not speak. */
  get lines(): readonly string[] {
    return this.#lines;
  }

  signal(name: NodeJS.Signals): void {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill(name);
  }
}

/** What a rank tells its launcher. */
export interface JoinedMessage {
  /** The epoch. */
  readonly joined: number;
  /** Whether the others can do without it. */
  readonly isSpared?: boolean;
}

function isJoined(message: unknown): message is JoinedMessage {
  return typeof message === 'object' && message !== null && 'joined' in message && typeof message.joined === 'number';
}

function forEachLine(stream: Readable | null, told: (line: string) => void): void {
  if (stream) createInterface({ input: stream }).on('line', told);
}
