import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it, vi } from 'vitest';

// What only a process of its own shows: how it ends, and what it keeps.

const index = JSON.stringify(new URL('./index.ts', import.meta.url).href);
const models = JSON.stringify(new URL('./tiny-models.ts', import.meta.url).href);

/** Less than a test may take: a child that hangs ends before its test does. */
const CHILD_MS = 110_000;
vi.setConfig({ testTimeout: 120_000 });

/** Runs JavaScript in a new process; rejects when that ends with a signal or another code than 0, or takes too long. */
async function child(backend: string, body: string): Promise<string> {
  const program = `
    import { createSession } from ${index};
    import { chainModel } from ${models};
    const backend = '${backend}';
    const square = (n) => ({ dtype: 'float32', shape: [n, n], data: new Float32Array(n * n) });
    const residentBytes = () => { gc(); return process.memoryUsage().rss; };
    ${body}`;
  const args = ['--expose-gc', '--import', 'tsx', '--input-type=module', '--eval', program];
  return (
    await promisify(execFile)(process.execPath, args, { timeout: CHILD_MS, killSignal: 'SIGKILL' })
  ).stdout.trim();
}

describe.each(['c-api', 'node'])('a process that uses %s', (backend) => {
  it('ends in the middle of a run', async () => {
    const body = `
      const session = await createSession(chainModel(100, 384), { backend, threads: 1 });
      const x = square(384);
      void session.run({ x, w: x });
      setTimeout(() => { console.log('bye'); process.exit(0); }, 20);`;
    expect(await child(backend, body)).toBe('bye');
  });

  it('ends by itself with a session open', async () => {
    const body = `
      const session = await createSession(chainModel(2, 8), { backend, threads: 1 });
      await session.run({ x: square(8), w: square(8) });
      console.log('done');`;
    expect(await child(backend, body)).toBe('done');
  });
});

describe('a process that has used koffi with small stacks', () => {
  it('gets the public binding, or is told why not', async () => {
    const body = `
      const { default: koffi } = await import('koffi');
      koffi.load(null).func('int abs(int)')(-1);
      const session = await createSession(chainModel(1, 2));
      const refused = await createSession(chainModel(1, 2), { backend: 'c-api' }).catch((error) => error);
      console.log(session.backend, refused.code, refused.message.includes('async_stack_size'));
      await session.close();`;
    expect(await child('auto', body)).toBe('node unavailable true');
  });
});

describe('profilePrefix', () => {
  it.each(['c-api', 'node'])('makes %s write a profile when the session closes', async (backend) => {
    const folder = await mkdtemp(join(tmpdir(), 'clip-gen-'));
    try {
      const body = `
        const profilePrefix = ${JSON.stringify(join(folder, 'profile'))};
        const session = await createSession(chainModel(1, 2), { backend, profilePrefix });
        await session.run({ x: square(2), w: square(2) });
        await session.close();`;
      await child(backend, body);
      const [file = ''] = await readdir(folder);
      expect(await readFile(join(folder, file), 'utf8')).toContain('MatMul');
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

describe('memory over the C API', () => {
  it('does not grow over 100 runs into the same buffers', async () => {
    const body = `
      const session = await createSession(chainModel(2, 512), { backend, threads: 1 });
      const [x, y] = [square(512), square(512)];
      const runs = async (count) => { for (let i = 0; i < count; i++) await session.run({ x, w: x }, { into: { y } }); };
      await runs(20);
      const before = residentBytes();
      await runs(100);
      console.log(residentBytes() - before);
      await session.close();`;
    // One leaked output a run would be 100 MiB.
    expect(Number(await child('c-api', body))).toBeLessThan(50 * 2 ** 20);
  });

  it('is that of one session where several share it', async () => {
    const body = `
      const grown = async (sharesMemory) => {
        const [x, w, y] = [square(1024), square(1024), square(1024)];
        for (const { data } of [x, w, y]) data.fill(1); // so that the pages are there
        const before = residentBytes();
        const results = [];
        for (let i = 0; i < 8; i++) {
          const session = await createSession(chainModel(6, 1024), { backend, threads: 1, sharesMemory });
          x.data[0] = i + 1;
          await session.run({ x, w }, { into: { y } });
          results.push([...y.data.subarray(0, 2)]);
          sessions.push(session);
        }
        return { bytes: residentBytes() - before, results };
      };
      const sessions = [];
      const [own, shared] = [await grown(false), await grown(true)];
      console.log(JSON.stringify([own, shared]));
      for (const session of sessions) await session.close();`;
    const [own, shared] = JSON.parse(await child('c-api', body)) as {
      readonly bytes: number;
      readonly results: number[][];
    }[];
    expect(shared!.results).toEqual(own!.results);
    expect(shared!.bytes).toBeLessThan(own!.bytes / 2);
  });

  it('is not taken a second time by later runs without the memory pattern', async () => {
    const body = `
      const grown = async (memoryPattern) => {
        const [x, w, y] = [square(1024), square(1024), square(1024)];
        const session = await createSession(chainModel(6, 1024), { backend, threads: 1, memoryPattern });
        await session.run({ x, w }, { into: { y } });
        const before = residentBytes();
        for (let i = 0; i < 3; i++) await session.run({ x, w }, { into: { y } });
        const bytes = residentBytes() - before;
        await session.close();
        return bytes;
      };
      console.log(JSON.stringify([await grown(false), await grown(true)]));`;
    const [without, planned] = JSON.parse(await child('c-api', body)) as number[];
    // Two maps of 4 MiB are alive at a time.
    expect(without).toBeLessThan(2 * 2 ** 20);
    expect(planned).toBeGreaterThan(without!);
  });

  it('does not grow over 40 sessions made and closed', async () => {
    const body = `
      const cycles = async (count) => {
        for (let i = 0; i < count; i++) {
          const session = await createSession(chainModel(150, 64), { backend, threads: 1 });
          await session.run({ x: square(64), w: square(64) });
          await session.close();
        }
      };
      await cycles(10);
      const before = residentBytes();
      await cycles(40);
      console.log(residentBytes() - before);`;
    // A session of 300 nodes holds about 2 MB: 80 MB, were they kept.
    expect(Number(await child('c-api', body))).toBeLessThan(40 * 2 ** 20);
  });
});
