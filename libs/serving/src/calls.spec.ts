import {
  ClipEmbeddingDefinition,
  TokenDecoderDefinition,
  TransformerSamplerDefinition,
  type DecodeRequest,
} from '@clip-gen/contracts';
import { ClipGenError } from '@clip-gen/errors';
import { Metrics } from '@clip-gen/telemetry';
import type { CallContext } from 'nice-grpc';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { decoder, embedding, sampler, testConnection, testServer } from './test-services.ts';

const tokens = (count: number) =>
  ({ event: { $case: 'tokens', value: { tokens: Array<number>(count).fill(1) } } }) as const;

/** Resolves when the signal aborts, to the time of it. */
async function abortOf(signal: AbortSignal): Promise<number> {
  if (!signal.aborted) await once(signal, 'abort');
  return performance.now();
}

describe('cancellation', () => {
  /** A call of each kind whose handler waits for its signal; `started` resolves inside the handler. */
  async function waitingCalls() {
    let started: (context: CallContext) => void = () => undefined;
    const wait = async (context: CallContext): Promise<never> => {
      started(context);
      await abortOf(context.signal);
      throw context.signal.reason;
    };
    const server = await testServer([
      embedding({ getModel: (_, context) => wait(context) }),
      sampler({
        async *sample(_, context) {
          yield tokens(1);
          await wait(context);
        },
      }),
      decoder({
        async *decode(_, context) {
          yield {};
          await wait(context);
        },
      }),
    ]);
    const embed = testConnection(ClipEmbeddingDefinition, server.address).client;
    const sample = testConnection(TransformerSamplerDefinition, server.address).client;
    const decode = testConnection(TokenDecoderDefinition, server.address).client;
    return {
      server,
      /** Makes the call; its context as soon as its handler runs. */
      begin(kind: 'unary' | 'stream' | 'bidi', signal: AbortSignal) {
        const context = new Promise<CallContext>((resolve) => (started = resolve));
        const never = (async function* (): AsyncGenerator<DecodeRequest> {
          yield { message: undefined };
          await abortOf(signal);
        })();
        const call =
          kind === 'unary'
            ? embed.getModel({}, { signal })
            : drain(kind === 'stream' ? sample.sample({}, { signal }) : decode.decode(never, { signal }));
        return { context, call };
      },
    };
  }

  it.each(['unary', 'stream', 'bidi'] as const)('reaches the handler of a %s call within 100 ms', async (kind) => {
    const { server, begin } = await waitingCalls();
    const times: number[] = [];
    // The quickest of a few: a busy machine may hold up any one of them.
    for (let round = 0; round < 5; round++) {
      const hangUp = new AbortController();
      const { context, call } = begin(kind, hangUp.signal);
      const aborted = abortOf((await context).signal);
      const from = performance.now();
      hangUp.abort();
      await expect(call).rejects.toMatchObject({ code: 'cancelled', message: 'the call to peer was cancelled' });
      times.push((await aborted) - from);
    }
    expect(Math.min(...times)).toBeLessThan(100);
    await expect.poll(() => server.runningCalls).toBe(0);
  });

  it('reaches the handler when the reader takes no more of a stream', async () => {
    let ended: Promise<number> | undefined;
    const stream = await testServer([
      sampler({
        async *sample(_, { signal }) {
          ended = abortOf(signal);
          for (;;) {
            yield tokens(1);
            await sleep(1, undefined, { signal });
          }
        },
      }),
    ]);
    const { client } = testConnection(TransformerSamplerDefinition, stream.address);
    for await (const _ of client.sample({})) break;
    await ended;
    await expect.poll(() => stream.runningCalls).toBe(0);
  });

  it('is what a call ended with whose handler saw but the end of the messages', async () => {
    const metrics = new Metrics();
    const server = await testServer(
      [
        decoder({
          async *decode(requests) {
            let read = 0;
            for await (const _ of requests) yield { candidate: ++read };
            if (read < 2) throw new ClipGenError('invalid_argument', 'two messages must come');
          },
        }),
      ],
      { metrics },
    );
    const { client } = testConnection(TokenDecoderDefinition, server.address);
    const ended = async (code: string): Promise<number> => {
      const series = new RegExp(
        `^clip_gen_grpc_server_handled_total\\{.*method="Decode",code="${code}"\\} (\\d+)$`,
        'm',
      );
      return Number(series.exec(await metrics.text())?.[1] ?? 0);
    };
    for (let round = 1; round <= 10; round++) {
      const hangUp = new AbortController();
      const requests = (async function* (): AsyncGenerator<DecodeRequest> {
        yield { message: undefined };
        await abortOf(hangUp.signal);
      })();
      await expect(
        (async () => {
          for await (const _ of client.decode(requests, { signal: hangUp.signal })) hangUp.abort();
        })(),
      ).rejects.toMatchObject({ code: 'cancelled' });
      await expect.poll(() => server.runningCalls).toBe(0);
    }
    expect(await ended('CANCELLED')).toBe(10);
    const one = (async function* (): AsyncGenerator<DecodeRequest> {
      yield { message: undefined };
    })();
    await expect(drain(client.decode(one))).rejects.toMatchObject({ code: 'invalid_argument' });
    expect(await ended('INVALID_ARGUMENT')).toBe(1);
  });

  it('stops a handler that never looks at its signal at its next message', async () => {
    let sent = 0;
    let cleaned = false;
    const server = await testServer([
      sampler({
        async *sample() {
          try {
            for (;;) {
              sent++;
              yield tokens(1);
              await sleep(1);
            }
          } finally {
            cleaned = true;
          }
        },
      }),
    ]);
    const { client } = testConnection(TransformerSamplerDefinition, server.address);
    for await (const _ of client.sample({})) if (sent > 3) break;
    await expect.poll(() => cleaned).toBe(true);
    expect(server.runningCalls).toBe(0);
  });

  it('ends a call at once that is cancelled before it begins', async () => {
    const server = await testServer([embedding({})]);
    const { client } = testConnection(ClipEmbeddingDefinition, server.address);
    await expect(client.getModel({}, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'cancelled' });
  });
});

describe('deadline', () => {
  it('ends the call on both sides', async () => {
    let aborted: Promise<number> | undefined;
    const metrics = new Metrics({ process: false });
    const server = await testServer(
      [
        embedding({
          async getModel(_, { signal }) {
            aborted = abortOf(signal);
            await aborted;
            throw new ClipGenError('cancelled', 'stopped');
          },
        }),
      ],
      { metrics },
    );
    const { client, ready } = testConnection(ClipEmbeddingDefinition, server.address);
    expect(await ready(30_000)).toBe(true);
    const from = performance.now();
    await expect(client.getModel({}, { deadlineMs: 300 })).rejects.toMatchObject({
      code: 'deadline_exceeded',
      message: 'peer did not finish within 300 ms',
    });
    expect(performance.now() - from).toBeGreaterThan(290);
    await aborted;
    await expect.poll(() => metrics.text()).toMatch(/GetModel",code="(DEADLINE_EXCEEDED|CANCELLED)"} 1/);
  });

  it('covers a stream that goes on and on', async () => {
    const server = await testServer([
      sampler({
        async *sample(_, { signal }) {
          for (;;) {
            yield tokens(1);
            await sleep(5, undefined, { signal });
          }
        },
      }),
    ]);
    const { client } = testConnection(TransformerSamplerDefinition, server.address, { deadlineMs: 500 });
    let got = 0;
    const reading = (async () => {
      for await (const _ of client.sample({})) got++;
    })();
    await expect(reading).rejects.toMatchObject({ code: 'deadline_exceeded' });
    expect(got).toBeGreaterThan(0);
  });

  it.each([0, -1, NaN, 1e9])('refuses %d ms', async (deadlineMs) => {
    const { client } = testConnection(ClipEmbeddingDefinition, '127.0.0.1:1');
    await expect(client.getModel({}, { deadlineMs })).rejects.toMatchObject({ code: 'invalid_argument' });
  });
});

describe('retries', () => {
  /** Fails so often, then answers. */
  async function flaky(failures: number, code: 'unavailable' | 'internal' = 'unavailable') {
    let calls = 0;
    const attempt = (): void => {
      if (++calls <= failures) throw new ClipGenError(code, 'away');
    };
    const server = await testServer([
      embedding({
        getModel() {
          attempt();
          return Promise.resolve({ imageSize: calls });
        },
      }),
      sampler({
        async *sample() {
          if (calls >= 10) yield tokens(2);
          attempt();
          yield await Promise.resolve(tokens(1));
        },
      }),
    ]);
    return { server, calls: () => calls, prime: () => (calls = 10) };
  }

  it('repeat a call without side effects until it succeeds', async () => {
    const { server, calls } = await flaky(3);
    const metrics = new Metrics({ process: false });
    const { client } = testConnection(ClipEmbeddingDefinition, server.address, { retry: { baseDelayMs: 1 }, metrics });
    expect(await client.getModel({})).toMatchObject({ imageSize: 4 });
    expect(calls()).toBe(4);
    expect(await metrics.text()).toContain('clip_gen_grpc_client_retries_total{peer="peer"} 3');
  });

  it('end after so many attempts', async () => {
    const { server, calls } = await flaky(9);
    const { client } = testConnection(ClipEmbeddingDefinition, server.address, {
      retry: { attempts: 2, baseDelayMs: 1 },
    });
    await expect(client.getModel({})).rejects.toMatchObject({ code: 'unavailable', message: 'peer: away' });
    expect(calls()).toBe(2);
  });

  it('can be turned off for a call, and are for UNAVAILABLE alone', async () => {
    const { server, calls } = await flaky(1);
    const { client } = testConnection(ClipEmbeddingDefinition, server.address);
    await expect(client.getModel({}, { retry: false })).rejects.toMatchObject({ code: 'unavailable' });
    expect(calls()).toBe(1);
    const other = await flaky(1, 'internal');
    const broken = testConnection(ClipEmbeddingDefinition, other.server.address).client;
    await expect(broken.getModel({})).rejects.toMatchObject({ code: 'internal' });
    expect(other.calls()).toBe(1);
  });

  it('repeat a stream before its first message, and never after', async () => {
    const { server, calls, prime } = await flaky(2);
    const { client } = testConnection(TransformerSamplerDefinition, server.address, { retry: { baseDelayMs: 1 } });
    expect(await drain(client.sample({}))).toBe(1);
    expect(calls()).toBe(3);

    const torn = await flaky(99);
    prime();
    torn.prime();
    const second = testConnection(TransformerSamplerDefinition, torn.server.address).client;
    let got = 0;
    const reading = (async () => {
      for await (const _ of second.sample({})) got++;
    })();
    await expect(reading).rejects.toMatchObject({ code: 'unavailable' });
    expect(got).toBe(1);
    expect(torn.calls()).toBe(11);
  });

  it('do not outlive the deadline', async () => {
    const { client } = testConnection(ClipEmbeddingDefinition, '127.0.0.1:1', {
      retry: { attempts: 1_000, baseDelayMs: 20, maxDelayMs: 20 },
    });
    await expect(client.getModel({}, { deadlineMs: 400 })).rejects.toMatchObject({ code: 'deadline_exceeded' });
  });
});

/** Reads a stream to its end. @returns how many messages came */
async function drain(stream: AsyncIterable<unknown>): Promise<number> {
  let count = 0;
  for await (const _ of stream) count++;
  return count;
}
