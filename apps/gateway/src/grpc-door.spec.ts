import { ImageFormat, type DeepPartial, type GenerateRequest, type GenerateResponse } from '@clip-gen/contracts';
import { ClipGenError } from '@clip-gen/errors';
import { encodeImage } from '@clip-gen/image';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestGateway, until, type TestGateway } from './test-gateway.ts';

let door: TestGateway;
beforeAll(async () => {
  door = await startTestGateway(['--max-in-flight=2', '--max-waiting=0']);
});
afterAll(() => door.close());

const REQUEST = { prompt: 'a red apple', seed: 7n, candidates: 5, n: 2 };

type Event = NonNullable<GenerateResponse['event']>;

async function generate(request: DeepPartial<GenerateRequest>, signal?: AbortSignal): Promise<Event[]> {
  const events: Event[] = [];
  for await (const { event } of door.grpc.client.generate(request, { signal })) if (event) events.push(event);
  return events;
}

/** Code, message and time of the error, without its causes: a failed assertion would print all that hangs on them. */
async function failure(work: Promise<unknown>): Promise<object> {
  try {
    await work;
  } catch (error) {
    if (!(error instanceof ClipGenError)) return { message: String(error) };
    const { code, message, retryAfterMs } = error;
    return { code, message, ...(retryAfterMs !== undefined && { retryAfterMs }) };
  }
  return { message: 'no error' };
}

describe('ImageGeneration', () => {
  it('streams accepted, progress and partial pictures, pictures by rank, finished', async () => {
    const events = await generate({ ...REQUEST, partialImages: 3 });
    const kinds = events.map(({ $case }) => $case);
    expect(events[0]).toMatchObject({ $case: 'accepted', value: { seed: 7n, candidates: 5 } });
    expect(kinds.slice(-3)).toEqual(['image', 'image', 'finished']);
    const partials = events.flatMap((event) => (event.$case === 'partial' ? [event.value] : []));
    expect(partials.map(({ index }) => index)).toEqual([0, 1, 2]);
    expect(partials[0]?.image).toMatchObject({ format: ImageFormat.IMAGE_FORMAT_PNG, width: 8, height: 8 });
    const progress = events.flatMap((event) => (event.$case === 'progress' ? [event.value] : []));
    expect(progress.at(-1)).toEqual({ tokens: 80, tokensTotal: 80, images: 5, imagesTotal: 5 });
    for (const [i, { tokens }] of progress.entries())
      expect(tokens).toBeGreaterThanOrEqual(progress[i - 1]?.tokens ?? 0);
    const images = events.flatMap((event) => (event.$case === 'image' ? [event.value] : []));
    expect(images.map(({ rank }) => rank)).toEqual([0, 1]);
    expect(images[0]!.score).toBeGreaterThanOrEqual(images[1]!.score);
  });

  it('gives the bytes that REST gives', async () => {
    const events = await generate(REQUEST);
    const images = events.flatMap((event) => (event.$case === 'image' ? [event.value] : []));
    const response = await door.post('/v1/images/generations', { ...REQUEST, seed: 7 });
    const { data } = (await response.json()) as { data: { b64_json: string; candidate: number; clip_score: number }[] };
    expect(images.map(({ candidate }) => candidate)).toEqual(data.map(({ candidate }) => candidate));
    expect(images.map(({ image }) => Buffer.from(image!.data).toString('base64'))).toEqual(
      data.map(({ b64_json: picture }) => picture),
    );
    expect(images[0]!.score).toBe(Math.fround(data[0]!.clip_score));
  });

  it('gives every format', async () => {
    const first = async (request: DeepPartial<GenerateRequest>) => {
      const events = await generate({ ...REQUEST, n: 1, ...request });
      return events.flatMap((event) => (event.$case === 'image' ? [event.value.image!] : []))[0]!;
    };
    const raw = await first({ format: ImageFormat.IMAGE_FORMAT_RGB8 });
    expect(raw).toMatchObject({ format: ImageFormat.IMAGE_FORMAT_RGB8, width: 8, height: 8 });
    expect(raw.data).toHaveLength(8 * 8 * 3);
    const webp = await first({ format: ImageFormat.IMAGE_FORMAT_WEBP, compression: 50 });
    expect(Buffer.from(webp.data)).toEqual(await encodeImage(raw, { format: 'webp', quality: 50 }));
    const jpeg = await first({ format: ImageFormat.IMAGE_FORMAT_JPEG });
    expect(Buffer.from(jpeg.data)).toEqual(await encodeImage(raw, { format: 'jpeg' }));
  });

  it.each<[DeepPartial<GenerateRequest>, string]>([
    [{ prompt: '' }, 'prompt must be a description in words'],
    [{ prompt: 'word '.repeat(30) }, 'prompt must be at most 20 tokens long'],
    [{ n: 0 }, 'n must be an integer in [1, 10]; got 0'],
    [{ candidates: 257 }, 'candidates must be an integer in [1, 256]; got 257'],
    [{ seed: 2n ** 63n }, 'seed must be an integer in [0, 2^53)'],
    [{ sampling: { temperature: NaN } }, 'sampling.temperature must be in [0, 10]; got NaN'],
    [{ sampling: { topK: 0 } }, 'sampling.top_k must be an integer in [1, 32]; got 0'],
    [{ sampling: { topP: 2 } }, 'sampling.top_p must be in (0, 1]; got 2'],
    [{ sampling: { guidance: -1 } }, 'sampling.guidance must be in [0, 50]; got -1'],
    [{ decoder: 'gif' }, 'decoder must be one of vqgan, preview; got "gif"'],
    [{ partialImages: 4 }, 'partial_images must be an integer in [0, 3]; got 4'],
    [{ format: ImageFormat.UNRECOGNIZED }, 'format must be a format of the contract, 0 to 4; got -1'],
    [{ compression: 50 }, 'compression must be absent with png; got 50'],
    [{ format: ImageFormat.IMAGE_FORMAT_JPEG, compression: 101 }, 'compression must be in [0, 100]; got 101'],
  ])('refuses %#', async (change, message) => {
    const refusal = await failure(generate({ ...REQUEST, ...change }));
    expect(refusal).toEqual({ code: 'invalid_argument', message: expect.stringContaining(message) });
  });

  it('stops every service when the caller hangs up', async () => {
    const [sampler, decoder] = [door.samplers[0]!.switches, door.decoders[0]!.switches];
    let stepsAfter = 0;
    sampler.before = () => {
      if (control.signal.aborted) stepsAfter++;
      return new Promise((resolve) => setTimeout(resolve, 20));
    };
    const cancelled = sampler.cancelled;
    const control = new AbortController();
    const running = generate(REQUEST, control.signal);
    running.catch(() => undefined);
    await until('the sampler runs', () => sampler.running === 1 && decoder.running === 1);
    control.abort();
    await expect(running).rejects.toThrow();
    await until('all are free', () => sampler.running + decoder.running === 0);
    expect(stepsAfter).toBeLessThanOrEqual(5); // 100 ms of them at most
    expect(sampler.cancelled).toBe(cancelled + 1);
    sampler.before = () => undefined;
  });

  it('refuses what is too much, with the time to come back', async () => {
    let open = (): void => undefined;
    const opening = new Promise<void>((resolve) => (open = resolve));
    door.samplers[0]!.switches.before = () => opening;
    const accepted = [generate(REQUEST), generate(REQUEST)];
    await until('two run', () => door.samplers[0]!.switches.running === 2);
    const refusal = await failure(generate(REQUEST));
    expect(refusal).toMatchObject({ code: 'resource_exhausted', retryAfterMs: expect.any(Number) });
    open();
    const [first, second] = await Promise.all(accepted);
    expect(first?.at(-1)?.$case).toBe('finished');
    expect(second?.at(-1)?.$case).toBe('finished');
    door.samplers[0]!.switches.before = () => undefined;
  });

  it('lists decoders, the default first', async () => {
    expect(await door.grpc.client.listDecoders({})).toEqual({ names: ['vqgan', 'preview'] });
  });
});
