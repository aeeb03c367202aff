import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { readSettings } from '@clip-gen/config';
import { ImageFormat, TokenDecoderDefinition, type DecodeRequest } from '@clip-gen/contracts';
import { openPreviewPart, PreviewDecoder, writeTinyModel } from '@clip-gen/generation';
import { connect } from '@clip-gen/serving';
import { temporaryFolder } from '@clip-gen/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { DECODER_SETTINGS } from './config.ts';
import { PreviewGridDecoder } from './preview-grid-decoder.ts';
import { startDecoder } from './start-decoder.ts';

const GRID = Int32Array.from({ length: 16 }, (_, i) => (5 * i) % 33);

let model: string;
beforeAll(async () => {
  model = join(await temporaryFolder(), 'model');
  await writeTinyModel(model, { preview: true });
});

function start(...flags: string[]) {
  const argv = ['--model', model, '--address', '127.0.0.1:0', '--metrics-address', '127.0.0.1:0', '--threads', '1'];
  return startDecoder(readSettings(DECODER_SETTINGS, { argv: [...argv, '--log-level', 'silent', ...flags], env: {} }));
}

describe('--decoder preview', { timeout: 60_000 }, () => {
  it('serves the preview decoder of a model, which has no way back', async () => {
    const running = await start('--decoder', 'preview');
    const addresses = [`127.0.0.1:${running.port}`];
    const { client, close } = connect(TokenDecoderDefinition, { addresses, name: 'decoder', deadlineMs: 60_000 });
    try {
      expect(await client.getDecoder({})).toMatchObject({
        name: 'preview',
        gridHeight: 4,
        gridWidth: 4,
        codebookSize: 33,
        imageHeight: 16,
        imageWidth: 16,
        canEncode: false,
      });
      const local = await PreviewDecoder.open(await openPreviewPart(join(model, 'preview')), { threads: 1 });
      const expected = await local.decode(GRID);
      await local.close();
      const pictures: Uint8Array[] = [];
      for await (const { image } of client.decode(requests())) pictures.push(new Uint8Array(image!.data));
      expect(pictures).toEqual([new Uint8Array(expected.data)]);
      await expect(client.encode({ images: [] })).rejects.toThrow('decoder preview has no way from picture to tokens');
    } finally {
      close();
      await running.close();
    }
  });

  it("opens a model's folder or the decoder's own, and says what to do where there is none", async () => {
    const alone = await PreviewGridDecoder.open(join(model, 'preview'), { threads: 1 });
    const ofModel = await PreviewGridDecoder.open(model, { threads: 1 });
    expect(alone.description).toEqual(ofModel.description);
    expect(alone.description.weightsSha256).toMatch(/^[0-9a-f]{64}$/);
    await alone.close();
    await ofModel.close();
    await rm(join(model, 'preview'), { recursive: true });
    await expect(start('--decoder', 'preview')).rejects.toThrow(
      /has no preview decoder; train it: clip-gen train preview/,
    );
  });
});

async function* requests(): AsyncGenerator<DecodeRequest> {
  const format = ImageFormat.IMAGE_FORMAT_RGB8;
  const options = { candidates: 1, firstCandidate: 0, conditions: 1, partialImages: 0, format };
  yield await Promise.resolve({ message: { $case: 'options', value: options } });
  for (const [position, token] of GRID.entries()) {
    yield {
      message: { $case: 'tokens', value: { condition: 0, firstCandidate: 0, position, positions: 1, tokens: [token] } },
    };
  }
}
