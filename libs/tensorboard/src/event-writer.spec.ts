import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { BinaryReader } from '@bufbuild/protobuf/wire';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EventWriter } from './index.ts';

const goldens = join(import.meta.dirname, '../goldens');
const never = { flushAfterMs: 2 ** 31 - 1, flushAtBytes: 2 ** 30 };

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tensorboard-'));
});
afterAll(() => rm(folder, { recursive: true }));

describe('EventWriter', () => {
  it("writes, byte for byte, what TensorBoard's own writer does", async () => {
    const writer = await EventWriter.open(folder, { now: () => 1_700_000_000_250 });
    writer.scalar('train/loss', 1.5, 0);
    writer.scalars({ 'train/loss': 0, 'train/rate': -1e-4 }, 1);
    writer.scalar('train/loss', NaN, 300);
    const png = await readFile(join(goldens, 'pixels.png'));
    writer.image('pixels', { png, width: 2, height: 1 }, 2 ** 40);
    writer.text('caption', '**ein** Bär', 7);
    await writer.close();
    expect(basename(writer.path)).toBe(`events.out.tfevents.1700000000.${hostname()}.${process.pid}`);
    expect(await readFile(writer.path, 'hex')).toBe(await readFile(join(goldens, 'tensorboard.events'), 'hex'));
  });

  it('never appends to a file that is there', async () => {
    const now = (): number => 1000;
    const first = await EventWriter.open(join(folder, 'deep/er'), { now });
    const second = await EventWriter.open(join(folder, 'deep/er'), { now });
    expect(second.path).toBe(`${first.path}.1`);
    await Promise.all([first.close(), second.close()]);
  });

  it('keeps events in memory until flush', async () => {
    const writer = await EventWriter.open(folder, never);
    writer.scalar('a', 1, 0);
    expect((await readFile(writer.path)).length).toBe(0);
    await writer.flush();
    const { length } = await readFile(writer.path);
    expect(length).toBeGreaterThan(0);
    writer.scalar('a', 1, 1);
    expect((await readFile(writer.path)).length).toBe(length);
    await writer.close();
    expect((await readFile(writer.path)).length).toBeGreaterThan(length);
  });

  it.each([
    ['many events wait', { ...never, flushAtBytes: 100 }],
    ['an event waited long enough', { ...never, flushAfterMs: 1 }],
  ])('writes by itself when %s', async (_when, options) => {
    const writer = await EventWriter.open(folder, options);
    writer.scalar('a', 1, 0);
    writer.scalar('a', 1, 1);
    await expect.poll(async () => (await readFile(writer.path)).length, { timeout: 5000 }).toBeGreaterThan(100);
    await writer.close();
  });

  it('keeps the order of events over many writes', async () => {
    const writer = await EventWriter.open(folder, { ...never, flushAtBytes: 64 });
    for (let step = 1; step <= 1000; step++) {
      writer.scalar('a', step, step);
      if (step % 100 === 0) await delay(0);
    }
    await writer.close();
    expect(stepsOf(await readFile(writer.path))).toEqual([0, ...Array.from({ length: 1000 }, (_, i) => i + 1)]);
  });

  it('bounds what waits in memory', async () => {
    const writer = await EventWriter.open(folder, { ...never, maxBufferedBytes: 1000 });
    const fill = (): void => {
      for (let step = 0; step < 100; step++) writer.scalar('a', 1, step);
    };
    expect(fill).toThrow('events that wait to be written must take at most 1000 bytes');
    await writer.flush();
    writer.scalar('a', 1, 100);
    await writer.close();
  });

  it('refuses events after close, which may be called again', async () => {
    const writer = await EventWriter.open(folder, never);
    await Promise.all([writer.close(), writer.close()]);
    expect(() => writer.scalar('a', 1, 0)).toThrow('is closed');
  });

  it('does not open where there is no folder', async () => {
    const file = join(folder, 'file');
    await writeFile(file, '');
    await expect(EventWriter.open(join(file, 'run'))).rejects.toThrow();
    await expect(EventWriter.open(folder, { flushAfterMs: NaN })).rejects.toThrow('flushAfterMs must be in [0, 2^31)');
  });

  it('refuses bad arguments and stays usable', async () => {
    const writer = await EventWriter.open(folder, never);
    const png = await readFile(join(goldens, 'pixels.png'));
    expect(() => writer.scalar('', 1, 0)).toThrow('tag must be of 1 to 1024 characters; got ""');
    expect(() => writer.scalar('a', 1, -1)).toThrow('step must be an integer in [0, 2^53); got -1');
    expect(() => writer.scalar('a', 1, 0.5)).toThrow('got 0.5');
    expect(() => writer.image('a', { png, width: 1, height: 1 }, 0)).toThrow('1 x 1 pixels; got "2 x 1"');
    expect(() => writer.image('a', { png, width: 0, height: 1 }, 0)).toThrow('image.width must be an integer in');
    expect(() => writer.image('a', { png: png.subarray(1), width: 2, height: 1 }, 0)).toThrow('must be a PNG file');
    expect(() => writer.image('a', { png: png.subarray(0, 20), width: 2, height: 1 }, 0)).toThrow('must be a PNG file');
    writer.scalar('a', 1, 5);
    await writer.close();
    expect(stepsOf(await readFile(writer.path))).toEqual([0, 5]);
  });

  // A shell bounds the size of files to 1 MiB, so that writes fail in earnest as they do on a full disk.
  it.runIf(process.platform === 'linux')('reports a failed write by each later call', async () => {
    const program = `
      import { EventWriter } from ${JSON.stringify(join(import.meta.dirname, 'index.ts'))};
      const says = async (work) => {
        try { await work(); } catch ({ code, message }) { console.log(code + ' ' + message.split(': ')[1]); }
      };
      const writer = await EventWriter.open(${JSON.stringify(join(folder, 'full'))});
      writer.text('a', 'x'.repeat(2 ** 21), 0);
      await says(() => writer.flush());
      await says(() => writer.scalar('a', 1, 1));
      await says(() => writer.close());`;
    const node = [process.execPath, '--import', 'tsx', '--input-type=module', '--eval', program];
    const { stdout } = await promisify(execFile)('bash', ['-c', 'ulimit -f 1024; exec "$@"', 'bash', ...node]);
    expect(stdout.trim().split('\n')).toEqual(Array(3).fill('unavailable EFBIG'));
  });
});

/** The step of each event in a file of records; 0 where the field is absent. */
function stepsOf(file: Buffer): number[] {
  const steps: number[] = [];
  for (let at = 0; at < file.length;) {
    const length = Number(file.readBigUInt64LE(at));
    const event = new BinaryReader(file.subarray(at + 12, at + 12 + length));
    let step = 0;
    while (event.pos < event.len) {
      const [number, wireType] = event.tag();
      if (number === 2) step = Number(event.int64());
      else event.skip(wireType);
    }
    steps.push(step);
    at += 16 + length;
  }
  return steps;
}
