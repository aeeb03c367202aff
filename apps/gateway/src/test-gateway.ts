import { ImageGenerationDefinition, type ImageGenerationClient } from '@clip-gen/contracts';
import { readSettings } from '@clip-gen/config';
import { ClipGenError } from '@clip-gen/errors';
import { connect, type Connection } from '@clip-gen/serving';
import { createLogger } from '@clip-gen/telemetry';
import { expect, onTestFinished } from 'vitest';
import { GATEWAY_SETTINGS } from './config.ts';
import { startGateway, type RunningGateway } from './gateway.ts';
import { standInDecoder, standInEmbedding, standInSampler, type StandIn } from './stand-in-services.ts';

/** A gateway before stand-in services, all on ports of their own, for one spec. */
export interface TestGateway {
  readonly gateway: RunningGateway;
  readonly url: string;
  readonly embedding: StandIn;
  /** Replicas. */
  readonly samplers: readonly StandIn[];
  readonly decoders: readonly StandIn[];
  readonly preview: StandIn;
  /** Lines that the gateway has logged. */
  readonly log: readonly Record<string, unknown>[];
  readonly grpc: Connection<ImageGenerationClient>;
  /** Posts JSON; a string goes as it is. */
  post(path: string, body: unknown, init?: RequestInit): Promise<Response>;
  close(): Promise<void>;
}

/** Flags besides the addresses, such as `--max-waiting=0`; `replicas` of sampler and decoder, 1 unless given. */
export async function startTestGateway(flags: readonly string[] = [], { replicas = 1 } = {}): Promise<TestGateway> {
  const many = <T>(start: () => Promise<T>): Promise<T[]> => Promise.all(Array.from({ length: replicas }, start));
  const embedding = await standInEmbedding();
  const samplers = await many(() => standInSampler());
  const decoders = await many(() => standInDecoder());
  const preview = await standInDecoder(undefined, { tint: 100 });
  const addresses = {
    embedding: embedding.address,
    sampler: samplers.map(({ address }) => address).join(','),
    decoders: [...decoders.map(({ address }) => `vqgan=${address}`), `preview=${preview.address}`].join(','),
  };
  const { gateway, log } = await startQuietGateway(addresses, flags);
  const url = `http://127.0.0.1:${gateway.httpPort}`;
  // A busy machine may not have answered the first question in time.
  await until('the gateway is ready', async () => (await fetch(`${url}/readyz`)).ok);
  const grpc = connect(ImageGenerationDefinition, {
    name: 'gateway',
    addresses: [`127.0.0.1:${gateway.port}`],
    deadlineMs: 60_000,
    retry: { attempts: 1 },
  });
  return {
    ...{ gateway, url, embedding, samplers, decoders, preview, log, grpc },
    post: (path, body, init) =>
      fetch(`${url}${path}`, {
        method: 'POST',
        body: typeof body === 'string' ? body : JSON.stringify(body),
        ...init,
        headers: { 'content-type': 'application/json', ...init?.headers },
      }),
    async close() {
      grpc.close();
      await gateway.close();
      await Promise.all([embedding, ...samplers, ...decoders, preview].map(({ server }) => server.close()));
    },
  };
}

/** One that is closed with the test. */
export async function openTestGateway(...args: Parameters<typeof startTestGateway>): Promise<TestGateway> {
  const door = await startTestGateway(...args);
  onTestFinished(() => door.close());
  return door;
}

/** The `data` of an answer that must be 200. */
export async function dataOf(response: Response): Promise<unknown> {
  const answer = (await response.json()) as { data?: unknown };
  expect(response.status, JSON.stringify(answer)).toBe(200);
  return answer.data;
}

/** A gateway on free ports that logs into memory. */
export async function startQuietGateway(
  { embedding, sampler, decoders }: { embedding: string; sampler: string; decoders: string },
  flags: readonly string[] = [],
): Promise<{ gateway: RunningGateway; log: Record<string, unknown>[] }> {
  const log: Record<string, unknown>[] = [];
  const peers = [`--embedding=${embedding}`, `--sampler=${sampler}`, `--decoders=${decoders}`];
  const given = new Set(flags.map((flag) => flag.split('=')[0]));
  const anywhere = ['--address', '--http-address', '--metrics-address'].map((flag) => `${flag}=127.0.0.1:0`);
  const usual = [...anywhere, '--probe-ms=50'].filter((flag) => !given.has(flag.split('=')[0]));
  const settings = readSettings(GATEWAY_SETTINGS, { argv: [...usual, ...peers, ...flags], env: {} });
  const destination = { write: (line: string): unknown => log.push(JSON.parse(line) as Record<string, unknown>) };
  const logger = createLogger({ service: 'gateway', level: 'debug', format: 'json', destination });
  return { gateway: await startGateway(settings, { logger }), log };
}

/** The `data` of each server-sent event of an answer, as they come. */
export async function* readEvents(response: Response): AsyncGenerator<Record<string, unknown>> {
  let text = '';
  const decoder = new TextDecoder();
  const reader = response.body?.getReader();
  for (;;) {
    const { done, value } = (await reader?.read()) ?? { done: true };
    if (done) return;
    text += decoder.decode(value, { stream: true });
    for (let end; (end = text.indexOf('\n\n')) !== -1; text = text.slice(end + 2)) {
      const data = text
        .slice(0, end)
        .split('\n')
        .find((line) => line.startsWith('data: '));
      if (data) yield JSON.parse(data.slice('data: '.length)) as Record<string, unknown>;
    }
  }
}

/** Waits until something holds. @throws what holds not after half a minute */
export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 30_000; !(await holds());) {
    if (Date.now() > end) throw new ClipGenError('deadline_exceeded', `not within 30 seconds: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
