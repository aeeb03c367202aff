import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';

/** A server as a process of its own, so that a client's clock measures it and not itself. */
export interface ServerProcess<At> {
  /** Where it listens. */
  readonly at: At;
  /** Ends it, with force after some seconds. */
  close(): Promise<void>;
}

/** Where a gateway listens. */
export interface GatewayAt {
  /** `http://host:port` */
  readonly http: string;
  /** `host:port` */
  readonly grpc: string;
}

const FREE = '127.0.0.1:0';
const DOORS = ['--address', FREE, '--metrics-address', FREE];
const START_MS = 120_000;
const STOP_MS = 5_000;
/** Characters that are kept of what a server says, for the message when it dies. */
const KEPT = 4_000;

/** `clip-gen serve`: the gateway and the services with their models in one process, with their own defaults. */
export function startClipGen(model: string, flags: readonly string[] = []): Promise<ServerProcess<GatewayAt>> {
  const argv = ['apps/cli/bin/clip-gen.js', 'serve', '--model', model, '--http-address', FREE, ...DOORS, ...flags];
  return startProcess(argv, (said) => {
    const [, http, grpc] = /^clip-gen is at http:\/\/[^:]+:(\d+) .*gRPC on port (\d+), /m.exec(said) ?? [];
    return http && grpc ? { http: `http://127.0.0.1:${http}`, grpc: `127.0.0.1:${grpc}` } : undefined;
  });
}

/** The sampler's service alone; it is at `host:port`. */
export function startSampler(model: string): Promise<ServerProcess<string>> {
  const argv = ['apps/transformer-sampler/bin/transformer-sampler.js', '--model', model, ...DOORS];
  return startProcess(argv, (said) => {
    const serving = logLine(said, 'serving');
    return serving && `127.0.0.1:${Number(serving['port'])}`;
  });
}

/** The gateway alone, before one server that serves all three contracts. */
export function startGateway(services: string): Promise<ServerProcess<GatewayAt>> {
  const behind = ['--embedding', services, '--sampler', services, '--decoders', `vqgan=${services}`];
  return startProcess(['apps/gateway/bin/gateway.js', '--http-address', FREE, ...DOORS, ...behind], (said) => {
    const open = logLine(said, 'gateway is open');
    if (!open) return undefined;
    return { http: `http://127.0.0.1:${Number(open['http'])}`, grpc: `127.0.0.1:${Number(open['grpc'])}` };
  });
}

/** The three contracts without models, for grids of so many tokens; they are at `host:port`. */
export function startModelless(gridTokens: number): Promise<ServerProcess<string>> {
  return startProcess(['--import', 'tsx', 'tools/bench/modelless-services.ts', String(gridTokens)], (said) => {
    const serving = logLine(said, 'serving');
    return serving && `127.0.0.1:${Number(serving['port'])}`;
  });
}

/** The fields of the log line with this message, once it is there. */
function logLine(said: string, message: string): Readonly<Record<string, unknown>> | undefined {
  const line = said.split('\n').find((candidate) => candidate.endsWith(`"msg":"${message}"}`));
  return line === undefined ? undefined : (JSON.parse(line) as Record<string, unknown>);
}

/**
 * Starts Node with `argv` in the repository's root and waits until `ready` finds in its output where it listens. What it
 * says later, at its default log level, is read and dropped.
 *
 * @throws when it ends first or takes too long, with its last words
 */
async function startProcess<At>(
  argv: readonly string[],
  ready: (said: string) => At | undefined,
): Promise<ServerProcess<At>> {
  const cwd = fileURLToPath(new URL('../..', import.meta.url));
  // The benches' own variables, and settings for servers on other ports, are none of these servers'.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('CLIP_GEN_')));
  const child = spawn(process.execPath, argv, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
  const kill = (): void => void child.kill('SIGKILL');
  process.once('exit', kill);
  const ended = once(child, 'close');
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-KEPT)));
  }
  const running = (): boolean => child.exitCode === null && child.signalCode === null;
  const close = async (): Promise<void> => {
    if (running()) child.kill('SIGTERM');
    const patience = setTimeout(kill, STOP_MS);
    await ended;
    clearTimeout(patience);
    process.off('exit', kill);
  };
  const begun = performance.now();
  for (;;) {
    const at = ready(said);
    if (at !== undefined) return { at, close };
    const late = performance.now() - begun > START_MS;
    if (late || !running()) {
      await close();
      throw new Error(`${argv.join(' ')} ${late ? 'does not serve' : 'ended'}; it said: ${said.trim()}`);
    }
    await sleep(20);
  }
}
