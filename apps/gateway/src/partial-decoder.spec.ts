import { afterEach, expect, it } from 'vitest';
import { readEvents, startTestGateway, until, type TestGateway } from './test-gateway.ts';

// Who makes the pictures on the way: the preview decoder of the model unless a request says otherwise.

const IMAGES = '/v1/images/generations';
const REQUEST = { prompt: 'a red apple', seed: 7, candidates: 5, n: 2 };

let door: TestGateway;
afterEach(() => door.close());

interface Streamed {
  /** Base64, by index. */
  readonly partials: readonly string[];
  readonly pictures: readonly string[];
}

async function stream(more: object = {}): Promise<Streamed> {
  const response = await door.post(IMAGES, { ...REQUEST, stream: true, partial_images: 3, ...more });
  expect(response.status).toBe(200);
  const [partials, pictures]: [string[], string[]] = [[], []];
  for await (const { type, b64_json: data } of readEvents(response)) {
    (type === 'image_generation.partial_image' ? partials : pictures).push(String(data));
  }
  return { partials, pictures };
}

const calls = (): number[] => [door.decoders[0]!, door.preview].map(({ switches }) => switches.calls);

it('are the preview’s, the pictures those of the decoder that was chosen', async () => {
  door = await startTestGateway();
  const quick = await stream();
  expect(calls()).toEqual([1, 1]); // all candidates of the decoder in one call, the first once more for the preview
  const slow = await stream({ partial_decoder: 'vqgan' });
  expect(calls()).toEqual([3, 1]); // one of the decoder's own calls is for the first candidate
  expect(quick.partials).toHaveLength(3);
  expect(slow.partials).toHaveLength(3);
  for (const [i, picture] of quick.partials.entries()) expect(picture).not.toBe(slow.partials[i]);
  expect(quick.pictures).toEqual(slow.pictures);
  expect(await stream({ partial_decoder: 'preview' })).toEqual(quick);

  // A request that chooses a decoder sees that one on the way.
  const small = await stream({ decoder: 'preview' });
  expect(small.partials).toEqual(quick.partials);
  expect(small.pictures).not.toEqual(quick.pictures);
  const mixed = await stream({ decoder: 'preview', partial_decoder: 'vqgan' });
  expect(mixed).toEqual({ partials: slow.partials, pictures: small.pictures });
});

it('are the same over gRPC', async () => {
  door = await startTestGateway();
  const overGrpc = async (partialDecoder: string): Promise<string[]> => {
    const pictures: string[] = [];
    for await (const { event } of door.grpc.client.generate({
      ...REQUEST,
      seed: 7n,
      partialImages: 3,
      partialDecoder,
    })) {
      if (event?.$case === 'partial') pictures.push(Buffer.from(event.value.image!.data).toString('base64'));
    }
    return pictures;
  };
  expect(await overGrpc('')).toEqual((await stream()).partials);
  expect(await overGrpc('vqgan')).toEqual((await stream({ partial_decoder: 'vqgan' })).partials);
});

it('are those of the decoder while the preview is away, unless it was asked for', async () => {
  door = await startTestGateway(['--attempts=2']);
  const slow = await stream({ partial_decoder: 'vqgan' });
  await door.preview.server.close();
  const named = await door.post(IMAGES, { ...REQUEST, stream: true, partial_images: 3, partial_decoder: 'preview' });
  const events: unknown[] = [];
  for await (const event of readEvents(named)) events.push(event);
  expect(JSON.stringify(events)).toContain('the decoder preview service is away');
  await until('the gateway knows', async () => {
    const { services } = (await (await fetch(`${door.url}/readyz`)).json()) as { services: Record<string, string> };
    return services['decoder preview'] !== 'ready';
  });
  expect(await stream()).toEqual(slow);
});

it('end where the preview goes away on the way; the pictures come all the same', async () => {
  door = await startTestGateway(['--attempts=2', '--probe-ms=60000']);
  const whole = await stream();
  door.samplers[0]!.switches.before = async (position) => {
    if (position === 10) await door.preview.server.close(); // the second of three is due at 8 of 16
  };
  const { partials, pictures } = await stream();
  expect(pictures).toEqual(whole.pictures);
  expect(partials).toEqual(whole.partials.slice(0, partials.length));
  expect(partials.length).toBeLessThan(3);
  expect(door.log.filter(({ msg }) => msg === 'no more partial pictures')).toHaveLength(1);
});

it('hold nothing up where the preview does not come to its end', async () => {
  door = await startTestGateway();
  const whole = await stream();
  let letOn = (): void => undefined;
  const never = new Promise<void>((resolve) => (letOn = resolve));
  door.preview.switches.before = () => never;
  expect(await stream()).toEqual(whole);
  const [line] = door.log.filter(({ msg }) => msg === 'no more partial pictures');
  expect(line).toMatchObject({ decoder: 'preview', err: { message: 'the pictures are done' } });
  letOn();
  await until('its call has ended', () => door.preview.switches.running === 0);
});

it('are no longer made when the client hangs up', async () => {
  door = await startTestGateway();
  const reader = new AbortController();
  let letOn = (): void => undefined;
  const gone = new Promise<void>((resolve) => (letOn = resolve));
  door.samplers[0]!.switches.before = (position) => (position === 6 ? gone : undefined); // the first is due at 4
  const body = { ...REQUEST, stream: true, partial_images: 3 };
  const response = await door.post(IMAGES, body, { signal: reader.signal });
  const { value: first } = await readEvents(response).next();
  expect(first).toMatchObject({ type: 'image_generation.partial_image' });
  reader.abort();
  for (const { switches } of [door.preview, door.decoders[0]!]) {
    await until('its call has ended', () => switches.running === 0);
    expect(switches.calls).toBe(1);
  }
  letOn();
  expect(door.log.filter(({ msg }) => msg === 'no more partial pictures')).toEqual([]);
});

it('are refused of a decoder that is not there', async () => {
  door = await startTestGateway();
  const response = await door.post(IMAGES, { ...REQUEST, partial_decoder: 'tiles' });
  expect(response.status).toBe(400);
  expect(await response.json()).toMatchObject({
    error: { param: 'partial_decoder', message: 'partial_decoder must be one of vqgan, preview; got "tiles"' },
  });
});
