import { spawn, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readSafetensors } from '@clip-gen/safetensors';
import { expectClose, temporaryFolder } from '@clip-gen/testing';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { writeFrozenModels, writePictures } from '../tiny-trainings.ts';

// Two hosts: network namespaces joined by a cable, each with its own command, as on two machines.
const CLI = fileURLToPath(new URL('../../../cli/bin/clip-gen.js', import.meta.url));
const SLOW = 240_000;
const HOSTS = [`clip-gen-m-${process.pid}`, `clip-gen-n-${process.pid}`] as const;
const CABLES = [`cgm${process.pid}`, `cgn${process.pid}`] as const;
const ip = (line: string): string => spawnSync('ip', line.split(' '), { encoding: 'utf8' }).stderr ?? 'no program ip';
const refusal = HOSTS.map((host) => ip(`netns add ${host}`)).join('');
if (refusal !== '') console.warn(`two hosts are not tested: ${refusal.trim()}`);

beforeAll(() => {
  if (refusal !== '') return;
  const steps = [
    `link add ${CABLES[0]} netns ${HOSTS[0]} type veth peer name ${CABLES[1]} netns ${HOSTS[1]}`,
    ...HOSTS.flatMap((host, i) => [
      `-n ${host} addr add 10.231.9.${i + 1}/24 dev ${CABLES[i]}`,
      `-n ${host} link set ${CABLES[i]} up`,
      `-n ${host} link set lo up`,
    ]),
  ];
  expect(steps.map(ip).join('')).toBe('');
});
afterAll(() => {
  for (const host of HOSTS) ip(`netns del ${host}`);
});

/** Runs a command to its end; what it printed. */
async function run(words: readonly string[]): Promise<{ code: number | null; printed: string }> {
  const [program = '', ...rest] = words;
  const child = spawn(program, rest, {
    env: { ...process.env, CLIP_GEN_TOKEN: 'only for tests' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let printed = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text: Buffer) => (printed += String(text)));
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { code, printed };
}

/** Loss on the held-back pictures after each epoch. */
const losses = (printed: string): number[] =>
  [...printed.matchAll(/validation {2}cross_entropy (\S+)/g)].map(([, value]) => Number(value));

it.skipIf(refusal !== '')(
  'two hosts learn what one process learns from batches of twice the size',
  async () => {
    const [pictures, models, out] = [await temporaryFolder(), await temporaryFolder(), await temporaryFolder()];
    await writePictures(pictures, 13);
    await writeFrozenModels(models, pictures);
    const model = { model: 'gpt', tokens: 16, vocabularySize: 16, conditionSize: 8, width: 8, layers: 1, heads: 1 };
    const settings = { model, epochs: 3, learningRate: 0.01, threads: 1, validationFraction: 0.3, seed: 5 };
    const train = (name: string, batchSize: number): string[] => [
      ...['train', 'gpt', '--data', pictures, '--out', join(out, name)],
      ...['--vqgan', join(models, 'vqgan'), '--clip', join(models, 'clip')],
      ...Object.entries({ ...settings, batchSize }).flatMap(([key, value]) => [
        '--set',
        `${key}=${JSON.stringify(value)}`,
      ]),
    ];
    const hosts = await Promise.all(
      HOSTS.map((host, rank) =>
        run([
          ...['ip', 'netns', 'exec', host, process.execPath, CLI],
          ...['launch', '--nnodes', '2', '--node-rank', String(rank), '--rendezvous', '10.231.9.1:29500'],
          ...['--', ...train('hosts', 2)],
        ]),
      ),
    );
    const alone = await run([process.execPath, CLI, ...train('alone', 4)]);
    for (const { code, printed } of [...hosts, alone]) expect(code, printed).toBe(0);
    expect(losses(alone.printed)).toHaveLength(3);
    expectClose(losses(hosts[0]!.printed), losses(alone.printed), { relative: 1e-3 }); // as many digits as are printed
    const [together, whole] = await Promise.all(
      ['hosts', 'alone'].map((name) => readSafetensors(join(out, name, 'model.safetensors'))),
    );
    expect([...together!.keys()].sort()).toEqual([...whole!.keys()].sort());
    for (const [name, { data, shape }] of whole!) {
      if (shape.length < 2) continue; // biases of keys change no loss: rounding alone moves them
      const other = together!.get(name)!.data as Float32Array;
      expectClose(other, data as Float32Array, { relative: 1e-3, scale: 'max' });
    }
  },
  SLOW,
);
