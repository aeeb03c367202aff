import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageFormat, TokenDecoderDefinition, type DecodeRequest, type DeepPartial } from '@clip-gen/contracts';
import { writeTinyModel } from '@clip-gen/generation';
import { readPictureBytes, type RgbImage } from '@clip-gen/image';
import { connect } from '@clip-gen/serving';
import { temporaryFolder } from '@clip-gen/testing';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { findProgram, ROOT, runExample, startProcess, type StartedProcess } from './foreign-processes.ts';
import type { RunningGateway } from './gateway.ts';
import { startQuietGateway } from './test-gateway.ts';

// Every example as its README starts it, with an untrained model: three services and a second decoder in a process of
// their own, a third decoder in Python, and a gateway before them.

const PROMPT = 'a slice of pizza';
const python = findProgram([process.env['PYTHON'] ?? 'python3', 'python3'], ['-c', 'import grpc, grpc_tools']);
const curl = findProgram(['curl'], ['--version']);
const NODE = ['--import', 'tsx'];
/** Of the tiny model: 4x4 codes, 4x4 pixels each. */
const GRID = { tokens: 16, codes: 33, side: 4, tile: 4 };
const LIMITS = { maxBytes: 1 << 20, maxPixels: 1 << 20, maxSide: 4096 };

let folder: string;
const started: StartedProcess[] = [];
const ports: Record<string, string> = {};
let gateway: RunningGateway;
let url: string;

beforeAll(async () => {
  folder = await temporaryFolder();
  const model = join(folder, 'model');
  await writeTinyModel(model);
  const make = [...NODE, 'examples/average-colour-decoder/make.ts', model, join(folder, 'average-colour')];
  const manifest = (await runExample(process.execPath, make)).trim();

  const anywhere = ['--http-address', '--address', '--metrics-address'].flatMap((flag) => [flag, '127.0.0.1:0']);
  const serve = ['apps/cli/bin/clip-gen.js', 'serve', '--model', model, '--threads', '1', ...anywhere];
  const onLine = (line: string): void => {
    const said = line.startsWith('{') ? (JSON.parse(line) as Record<string, unknown>) : {};
    if (said['msg'] === 'listening') ports[String(said['service'])] = `127.0.0.1:${String(said['port'])}`;
  };
  const decoders = ['--decoders', `average-colour=${manifest}`];
  const ready = /^clip-gen is at/;
  started.push(await startProcess(process.execPath, [...serve, ...decoders], { ready, onLine }));

  const named = [`vqgan=${ports['vqgan-decoder']}`, `average-colour=${ports['average-colour-decoder']}`];
  if (python) {
    const like = ['--like', ports['vqgan-decoder']!, '--address', '127.0.0.1:0'];
    const tiles = await startProcess(python, ['examples/python-decoder/decoder.py', ...like], {
      ready: /^33 colours, listening on port (\d+)/,
    });
    started.push(tiles);
    ports['tiles'] = `127.0.0.1:${tiles.ready[1]}`;
    named.push(`tiles=${ports['tiles']}`);
  }
  const [embedding, sampler] = [ports['clip-embedding']!, ports['transformer-sampler']!];
  ({ gateway } = await startQuietGateway({ embedding, sampler, decoders: named.join(',') }));
  url = `http://127.0.0.1:${gateway.httpPort}`;
  await vi.waitFor(async () => expect((await fetch(`${url}/readyz`)).status).toBe(200), { timeout: 60_000 });
});

afterAll(async () => {
  await gateway?.close();
  await Promise.all(started.map((process) => process.stop()));
});

/** What REST gives, best first. */
async function draw(request: object): Promise<Buffer[]> {
  const response = await fetch(`${url}/v1/images/generations`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ prompt: PROMPT, seed: 7, ...request }),
  });
  const text = await response.text();
  expect(response.status, text).toBe(200);
  const { data } = JSON.parse(text) as { data: { b64_json: string }[] };
  return data.map(({ b64_json: picture }) => Buffer.from(picture, 'base64'));
}

async function pixelsOf(file: Uint8Array): Promise<RgbImage> {
  return readPictureBytes({ layout: 'png', width: 0, height: 0, data: file }, 'picture', LIMITS);
}

/** The colours of a picture that is made of tiles, row by row; fails where it is not. */
function tilesOf({ width, data }: RgbImage): number[][] {
  expect(width).toBe(GRID.side * GRID.tile);
  const colour = (x: number, y: number): number[] => [...data.subarray((y * width + x) * 3, (y * width + x) * 3 + 3)];
  for (let y = 0; y < width; y++) {
    for (let x = 0; x < width; x++) expect(colour(x, y)).toEqual(colour(x - (x % GRID.tile), y - (y % GRID.tile)));
  }
  return Array.from({ length: GRID.tokens }, (_, i) =>
    colour((i % GRID.side) * GRID.tile, Math.floor(i / GRID.side) * GRID.tile),
  );
}

it('average-colour-decoder: an ONNX file with a manifest draws tiles', async () => {
  const [file] = await draw({ decoder: 'average-colour', candidates: 1 });
  // An untrained network shows all codes in nearly one colour: what can be told is that these are tiles.
  expect(tilesOf(await pixelsOf(file!))).toHaveLength(GRID.tokens);
});

it('typescript-client: saves what REST gives', async () => {
  const out = join(folder, 'typescript');
  const flags = [...NODE, 'examples/typescript-client/generate.ts', PROMPT, `127.0.0.1:${gateway.port}`, out];
  expect(await runExample(process.execPath, flags)).toMatch(/0\.png {2}score -?0\.\d{3}\n.*1\.png {2}score/s);
  const expected = await draw({ n: 2 });
  const saved = await Promise.all(['0.png', '1.png'].map((name) => readFile(join(out, name))));
  expect(saved.map((file, i) => file.equals(expected[i]!))).toEqual([true, true]);
});

it.skipIf(!curl)('curl: saves what REST gives, and fails with what the server says (needs curl)', async () => {
  const file = join(folder, 'by-curl.png');
  const script = (prompt: string): Promise<string> =>
    runExample('sh', ['examples/curl/generate.sh', prompt, file, url]);
  await script(PROMPT);
  const [expected] = await draw({ size: '256x256' });
  expect((await readFile(file)).equals(expected!)).toBe(true);
  await expect(script('a "slice" of \\ pizza')).resolves.toContain('by-curl.png');
  await expect(script('pizza '.repeat(99))).rejects.toThrow('prompt must be at most 8 tokens');
});

describe.skipIf(!python)('Python (needs grpcio and grpcio-tools: $PYTHON or python3)', () => {
  it('python-client: saves what REST gives, and unfinished pictures on the way', async () => {
    const out = join(folder, 'python');
    const gate = ['--gateway', `127.0.0.1:${gateway.port}`];
    const run = (...flags: string[]): Promise<string> =>
      runExample(python!, ['examples/python-client/generate.py', ...flags, ...gate, '--out', out]);
    const said = await run(PROMPT, '-n', '2', '--candidates', '3', '--seed', '7');
    expect(said).toMatch(/^seed 7, 3 candidates\n.*0\.png {2}score .*\n.*1\.png {2}score .*\n[\d.]+ s\n$/);
    expect((await readdir(out)).sort()).toEqual(
      ['0.png', '1.png', 'partial-0.png', 'partial-1.png', 'partial-2.png'].sort(),
    );
    const expected = await draw({ n: 2, candidates: 3 });
    for (const [i, picture] of expected.entries()) {
      expect((await readFile(join(out, `${i}.png`))).equals(picture)).toBe(true);
    }
    await expect(run(PROMPT, '-n', '11')).rejects.toThrow('INVALID_ARGUMENT: n must be');
  });

  it('python-decoder: draws the tiles that the ONNX file draws', async () => {
    const request = { candidates: 4, n: 1, stream: false };
    // Each ranks its own pictures: of one candidate there is no doubt which it is.
    const [byPython] = await draw({ ...request, candidates: 1, decoder: 'tiles' });
    const [byOnnx] = await draw({ ...request, candidates: 1, decoder: 'average-colour' });
    const tiles = tilesOf(await pixelsOf(byPython!)).flat();
    const expected = tilesOf(await pixelsOf(byOnnx!)).flat();
    expect(Math.max(...tiles.map((value, i) => Math.abs(value - expected[i]!)))).toBeLessThanOrEqual(1);
    expect(await draw({ ...request, n: 4, decoder: 'tiles' })).toHaveLength(4);
  });

  it('python-decoder: keeps the contract', async () => {
    const addresses = [ports['tiles']!];
    const { client, close } = connect(TokenDecoderDefinition, { name: 'tiles', addresses, deadlineMs: 30_000 });
    const options = (value: object): DeepPartial<DecodeRequest> => ({ message: { $case: 'options', value } });
    const event = (value: object): DeepPartial<DecodeRequest> => ({ message: { $case: 'tokens', value } });
    const grid = Array.from({ length: GRID.tokens }, (_, position) => event({ position, tokens: [position, 1] }));
    async function decode(...messages: DeepPartial<DecodeRequest>[]) {
      const answers = [];
      async function* requests() {
        yield* messages;
      }
      for await (const answer of client.decode(requests())) answers.push(answer);
      return answers;
    }
    const failure = (...messages: DeepPartial<DecodeRequest>[]): Promise<string> =>
      decode(...messages).then(
        () => 'no error',
        (error: { code: string; message: string }) => `${error.code}: ${error.message}`,
      );
    try {
      const rgb = ImageFormat.IMAGE_FORMAT_RGB8;
      const answers = await decode(options({ candidates: 2, partialImages: 3, format: rgb }), ...grid);
      expect(answers.map(({ candidate, partial }) => [candidate, partial?.positions])).toEqual(
        [4, 8, 12, undefined].flatMap((positions) => [
          [0, positions],
          [1, positions],
        ]),
      );
      const [first] = await decode(options({ candidates: 2 }), ...grid); // PNG unless said otherwise
      const png = await pixelsOf(first!.image!.data);
      expect(Buffer.from(png.data).equals(Buffer.from(answers.at(-2)!.image!.data))).toBe(true);

      expect(await failure(grid[0]!)).toMatch(/^invalid_argument: .*options first/);
      expect(await failure(options({}), event({ position: 1, tokens: [0] }))).toMatch(/out of order/);
      expect(await failure(options({}), event({ tokens: [GRID.codes] }))).toMatch(/\[0, 33\); got 33/);
      expect(await failure(options({ candidates: 2 }), ...grid.slice(1))).toMatch(/out of order/);
      expect(await failure(options({ candidates: 257 }))).toMatch(/at most 256 grids/);
      expect(await failure(options({ candidates: 2 }), ...grid.slice(0, 3))).toMatch(/fill every grid/);
    } finally {
      close();
    }
  });
});

it('examples/README.md names every example, and each has a README', async () => {
  const readme = await readFile(join(ROOT, 'examples/README.md'), 'utf8');
  const entries = await readdir(join(ROOT, 'examples'), { withFileTypes: true });
  const folders = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  expect(folders.length).toBeGreaterThan(0);
  for (const name of folders) {
    expect(readme).toContain(`](${name}/README.md)`);
    expect((await readFile(join(ROOT, 'examples', name, 'README.md'), 'utf8')).length).toBeGreaterThan(100);
  }
});
