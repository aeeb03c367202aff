import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { readSettings } from '@clip-gen/config';
import {
  EncodeRequest,
  ImageFormat,
  TokenDecoderDefinition,
  DecodeOptions,
  DecodeRequest,
  type DecodeResponse,
  type Image,
} from '@clip-gen/contracts';
import { openVqganPart, PictureDecoder, PictureTokenizer, writeTinyModel } from '@clip-gen/generation';
import { decodeImage, encodeImage, fitSquare } from '@clip-gen/image';
import type { Running } from '@clip-gen/service';
import { connect } from '@clip-gen/serving';
import { grpcFrame, rawGrpcCall, temporaryFolder } from '@clip-gen/testing';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { writeAverageColourDecoder } from './average-colour-decoder.ts';
import { DECODER_SETTINGS } from './config.ts';
import { OnnxGridDecoder } from './onnx-grid-decoder.ts';
import { startDecoder } from './start-decoder.ts';
import { VqganGridDecoder } from './vqgan-grid-decoder.ts';

/** Tokens of a grid. */
const T = 16;
const K = 33;
const {
  IMAGE_FORMAT_RGB8: RGB8,
  IMAGE_FORMAT_PNG: PNG,
  IMAGE_FORMAT_JPEG: JPEG,
  IMAGE_FORMAT_WEBP: WEBP,
} = ImageFormat;

let model: string;
let pictures: PictureDecoder;
let tokenizer: PictureTokenizer;
beforeAll(async () => {
  model = join(await temporaryFolder(), 'model');
  await writeTinyModel(model, { tokens: T, codebookSize: K });
  const part = await openVqganPart(join(model, 'vqgan'));
  pictures = await PictureDecoder.open(part, { threads: 1 });
  tokenizer = await PictureTokenizer.open(part, { threads: 1 });
});
afterAll(() => Promise.all([pictures.close(), tokenizer.close()]));

const open: { close(): Promise<void> | void }[] = [];
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

async function start(...flags: string[]) {
  const argv = ['--model', model, '--address', '127.0.0.1:0', '--metrics-address', '127.0.0.1:0', '--threads', '1'];
  const settings = readSettings(DECODER_SETTINGS, { argv: [...argv, '--log-level', 'silent', ...flags], env: {} });
  const running = await startDecoder(settings);
  open.push(running);
  return { running, client: client(running) };
}

function client(running: Running, deadlineMs = 60_000) {
  const addresses = [`127.0.0.1:${running.port}`];
  const connection = connect(TokenDecoderDefinition, { addresses, name: 'decoder', deadlineMs });
  open.push(connection);
  return connection.client;
}

const options = (value: Parameters<typeof DecodeOptions.create>[0] = {}): DecodeRequest =>
  DecodeRequest.create({ message: { $case: 'options', value: DecodeOptions.create(value) } });
const tokens = (position: number, codes: number[], firstCandidate = 0, condition = 0): DecodeRequest => ({
  message: { $case: 'tokens', value: { condition, firstCandidate, position, positions: 1, tokens: codes } },
});
const code = (candidate: number, position: number): number => (candidate * 5 + position * 7) % K;
const grid = (candidate: number): Int32Array =>
  Int32Array.from({ length: T }, (_, position) => code(candidate, position));

/** Options, then all candidates position by position. */
function* whole(candidates: number, change: Parameters<typeof options>[0] = {}): Generator<DecodeRequest> {
  yield options({ candidates, format: RGB8, ...change });
  const all = Array.from({ length: candidates }, (_, i) => i);
  for (let position = 0; position < T; position++)
    yield tokens(
      position,
      all.map((candidate) => code(candidate, position)),
    );
}

async function* sent(messages: Iterable<DecodeRequest> | AsyncIterable<DecodeRequest>): AsyncGenerator<DecodeRequest> {
  yield* messages;
}

async function collect(answers: AsyncIterable<DecodeResponse>): Promise<DecodeResponse[]> {
  const all: DecodeResponse[] = [];
  for await (const answer of answers) all.push(answer);
  return all;
}

describe('Decode', () => {
  it('gives the pictures that the model makes in this process, bit for bit, one or many at a time', async () => {
    const { client } = await start();
    const answers = await collect(client.decode(sent(whole(9))));
    expect(answers.map(({ candidate }) => candidate)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
    for (const { candidate, image, partial } of answers) {
      const wanted = await pictures.decode(grid(candidate));
      expect(partial).toBeUndefined();
      expect(image).toMatchObject({ format: RGB8, width: 16, height: 16 });
      expect(Buffer.from(image!.data).equals(Buffer.from(wanted.data))).toBe(true);
    }
  });

  it('shows partial pictures at even distances, and the picture as soon as the grid is full', async () => {
    const { client } = await start();
    let fed = 0;
    const feed = async function* (): AsyncGenerator<DecodeRequest> {
      for (const message of whole(1, { partialImages: 3 })) {
        yield message;
        fed++;
      }
      await sleep(60_000, undefined, { ref: false }); // the stream stays open
    };
    const answers = client.decode(feed())[Symbol.asyncIterator]();
    for (const positions of [4, 8, 12]) {
      const { value } = (await answers.next()) as { value: DecodeResponse };
      expect(value.partial).toEqual({ index: positions / 4 - 1, positions });
      const known = grid(0).fill(code(0, positions - 1), positions);
      expect(Buffer.from(value.image!.data).equals(Buffer.from((await pictures.decode(known)).data))).toBe(true);
    }
    const { value } = (await answers.next()) as { value: DecodeResponse };
    expect(value.partial).toBeUndefined();
    expect(fed).toBeGreaterThanOrEqual(T);
    await answers.return?.();
  });

  it.each([
    [PNG, 'png'],
    [JPEG, 'jpeg'],
    [WEBP, 'webp'],
    [ImageFormat.IMAGE_FORMAT_UNSPECIFIED, 'png'],
  ] as const)('writes format %i', async (format, name) => {
    const { client } = await start();
    const [answer] = await collect(client.decode(sent(whole(1, { format }))));
    const wanted = await pictures.decode(grid(0));
    expect(answer!.image!.format).toBe(format === 0 ? PNG : format);
    expect(Buffer.from(answer!.image!.data).equals(await encodeImage(wanted, { format: name }))).toBe(true);
  });

  it('takes several conditions, numbered from any candidate, in any order', async () => {
    const { client } = await start();
    const messages = [options({ candidates: 2, conditions: 2, firstCandidate: 10, format: RGB8 })];
    for (const [condition, candidate] of [
      [1, 11],
      [0, 10],
      [1, 10],
      [0, 11],
    ] as const) {
      for (let position = 0; position < T; position++)
        messages.push(tokens(position, [position], candidate, condition));
    }
    const answers = await collect(client.decode(sent(messages)));
    expect(answers.map(({ condition, candidate }) => [condition, candidate])).toEqual([
      [1, 11],
      [0, 10],
      [1, 10],
      [0, 11],
    ]);
  });

  it('refuses a stream that is not in order', async () => {
    const { client } = await start('--max-grids', '8');
    const cases: readonly (readonly [readonly DecodeRequest[], string])[] = [
      [[], 'message must be options first; got "the end of the stream"'],
      [[DecodeRequest.create()], 'message must be options first; got "none"'],
      [[tokens(0, [1])], 'message must be options first; got "tokens"'],
      [[options({}), options({})], 'message must be tokens after options; got "options"'],
      [[options({ candidates: 9 })], 'candidates must be in [1, 8]; got 9'],
      [[options({ format: 9 as ImageFormat })], 'format must be a format of the contract, 0 to 4'],
      [[options({}), tokens(1, [1])], 'position of condition 0, candidate 0 must be 0, its next; got 1'],
      [[options({}), tokens(0, [K])], `tokens[0] must be in [0, ${K}); got ${K}`],
      [[options({}), tokens(0, [1, 1])], 'candidates of an event must be in [0, 1)'],
      [[...whole(1), tokens(T - 1, [1])], 'must be absent: its grid is full'],
      [[options({}), tokens(0, [1])], '1 of 1 are not full, the first (condition 0, candidate 0) has 1 of 16'],
    ];
    for (const [messages, message] of cases) {
      await expect(collect(client.decode(sent(messages))), message).rejects.toMatchObject({
        code: 'invalid_argument',
        message: expect.stringContaining(message),
      });
    }
  });

  it('sends the pictures of full grids before it complains of the others', async () => {
    const { client } = await start();
    const messages = [options({ candidates: 2, format: RGB8 })];
    for (let position = 0; position < T; position++) messages.push(tokens(position, [1]));
    const got: DecodeResponse[] = [];
    const reading = (async () => {
      for await (const answer of client.decode(sent(messages))) got.push(answer);
    })();
    await expect(reading).rejects.toMatchObject({ code: 'invalid_argument' });
    expect(got.map(({ candidate }) => candidate)).toEqual([0]);
  });

  it('gives up a stream that stands still, or whose deadline passes, or whose caller goes', async () => {
    const { client: impatient, running } = await start('--idle-ms', '100', '--max-decodes', '1');
    const stuck = async function* (): AsyncGenerator<DecodeRequest> {
      yield options({});
      await sleep(60_000, undefined, { ref: false });
    };
    await expect(collect(impatient.decode(stuck()))).rejects.toMatchObject({
      code: 'deadline_exceeded',
      message: expect.stringContaining('the next message must come within 100 ms'),
    });
    const { running: patient } = await start('--max-decodes', '1');
    await expect(collect(client(patient, 150).decode(stuck()))).rejects.toMatchObject({ code: 'deadline_exceeded' });
    const controller = new AbortController();
    const aborted = collect(client(patient).decode(stuck(), { signal: controller.signal }));
    await sleep(100);
    controller.abort();
    await expect(aborted).rejects.toThrow();
    await sleep(100);
    expect(await collect(client(patient).decode(sent(whole(1))))).toHaveLength(1); // the only place is free again
    expect(running.port).not.toBe(patient.port);
  });

  it('refuses streams past its limit and finishes those that it let in', async () => {
    const { client } = await start('--max-decodes', '4');
    const slow = async function* (): AsyncGenerator<DecodeRequest> {
      for (const message of whole(2)) {
        yield message;
        await sleep(20);
      }
    };
    const outcomes = await Promise.allSettled(Array.from({ length: 12 }, () => collect(client.decode(slow()))));
    const done = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
    const refused = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason as unknown] : []));
    expect(done).toHaveLength(4);
    for (const answers of done) expect(answers).toEqual(done[0]);
    for (const error of refused) {
      expect(error).toMatchObject({ code: 'resource_exhausted', retryAfterMs: expect.any(Number) });
    }
  });

  it('waits for a slow reader without holding anybody up', async () => {
    const { client } = await start();
    const slow = client.decode(sent(whole(64, { partialImages: 4 })))[Symbol.asyncIterator]();
    await slow.next();
    expect(await collect(client.decode(sent(whole(2))))).toHaveLength(2);
    let answers = 1;
    while (!(await slow.next()).done) answers++;
    expect(answers).toBe(64 * 5);
  });

  it('drains without a failed call', async () => {
    const { client, running } = await start();
    const slow = async function* (): AsyncGenerator<DecodeRequest> {
      for (const message of whole(2)) {
        yield message;
        await sleep(15);
      }
    };
    const calls = [1, 2, 3].map(() => collect(client.decode(slow())));
    await sleep(100);
    const drained = running.drain();
    for (const answers of await Promise.all(calls)) expect(answers).toHaveLength(2);
    await drained;
  });
});

describe('Encode', () => {
  const image = { width: 30, height: 20, data: Uint8Array.from({ length: 1800 }, (_, i) => (i * 37) % 251) };
  const rgb8 = { format: RGB8, ...image };

  it('gives the tokens that the model gives in this process', async () => {
    const { client } = await start();
    const png = { format: PNG, width: 0, height: 0, data: await encodeImage(image, { format: 'png' }) };
    const square = { format: RGB8, ...(await pictures.decode(grid(3))) };
    const { grids } = await client.encode({ images: [rgb8, png, square] });
    const wanted = await tokenizer.tokenize(await fitSquare(image, 16));
    expect(grids.map((one) => one.tokens)).toEqual([
      Array.from(wanted),
      Array.from(wanted),
      Array.from(await tokenizer.tokenize(square)),
    ]);
    expect(await decodeImage(png.data)).toMatchObject({ width: 30, height: 20 });
  });

  it('refuses pictures out of bounds', async () => {
    const { client } = await start('--max-image-bytes', '2000', '--max-image-pixels', '700');
    const bomb = await encodeImage({ width: 40, height: 30, data: new Uint8Array(3600) }, { format: 'png' });
    const cut = (await encodeImage(image, { format: 'png' })).subarray(0, 200);
    const cases: readonly (readonly [Image[], string])[] = [
      [[], 'images must be 1 to 16 pictures; got 0'],
      [Array.from({ length: 17 }, () => rgb8), 'images must be 1 to 16 pictures; got 17'],
      [[rgb8, { ...rgb8, format: 9 as ImageFormat }], 'images[1].format must be a format of the contract'],
      [[{ ...rgb8, width: 31 }], 'images[0].data must be 1860 bytes for 31x20; got 1800'],
      [[{ ...rgb8, data: new Uint8Array(2001) }], 'images[0].data must be at most 2000 bytes; got 2001'],
      [[{ ...rgb8, width: 8193 }], 'images[0].width must be in [1, 8192]; got 8193'],
      [[{ ...rgb8, format: PNG }], 'images[0].data must be a png file'],
      [[{ format: PNG, width: 0, height: 0, data: bomb }], 'must have at most 700 pixels; got 40x30'],
      [[{ format: PNG, width: 0, height: 0, data: cut }], 'cannot be decoded'],
    ];
    for (const [images, message] of cases) {
      await expect(client.encode({ images }), message).rejects.toMatchObject({
        code: 'invalid_argument',
        message: expect.stringContaining(message),
      });
    }
  });

  it('survives damaged and oversized messages', async () => {
    const { running, client } = await start('--max-receive-bytes', '4096');
    const path = '/clipgen.v1.TokenDecoder/Encode';
    const whole = EncodeRequest.encode(EncodeRequest.create({ images: [rgb8] })).finish();
    for (const body of [whole.subarray(0, -1), Buffer.alloc(64, 0xff)]) {
      expect([3, 13]).toContain((await rawGrpcCall(running.port, path, grpcFrame(body))).status);
    }
    expect((await rawGrpcCall(running.port, path, grpcFrame(Buffer.alloc(5000)))).status).toBe(8);
    expect(
      (await rawGrpcCall(running.port, '/clipgen.v1.TokenDecoder/Decode', grpcFrame(Buffer.alloc(9, 0xff)))).status,
    ).toBe(13);
    expect((await client.encode({ images: [rgb8] })).grids).toHaveLength(1);
  });
});

describe('GetDecoder', () => {
  it('describes the VQGAN', async () => {
    const { client } = await start();
    const { weightsSha256, ...rest } = await client.getDecoder({});
    expect(weightsSha256).toMatch(/^[0-9a-f]{64}$/);
    expect(rest).toEqual({
      name: 'vqgan',
      gridHeight: 4,
      gridWidth: 4,
      codebookSize: K,
      imageHeight: 16,
      imageWidth: 16,
      canEncode: true,
    });
  });

  it('describes the ONNX file that is served instead', async () => {
    const vqgan = await VqganGridDecoder.open(model, { threads: 1 });
    const manifest = await writeAverageColourDecoder(vqgan, join(await temporaryFolder(), 'average'));
    await vqgan.close();
    const { client } = await start('--decoder-manifest', manifest);
    expect(await client.getDecoder({})).toMatchObject({ name: 'average-colour', canEncode: false, codebookSize: K });
    await expect(client.encode({ images: [] })).rejects.toMatchObject({ code: 'unimplemented' });
    const answers = await collect(client.decode(sent(whole(2))));
    const onnx = await OnnxGridDecoder.open(manifest, { threads: 1 });
    const wanted = await onnx.decode([grid(0), grid(1)], {});
    await onnx.close();
    answers.forEach(({ image }, i) => expect(Buffer.from(image!.data).equals(Buffer.from(wanted[i]!.data))).toBe(true));
  });
});
