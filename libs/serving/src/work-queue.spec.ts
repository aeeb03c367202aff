import { Metrics } from '@clip-gen/telemetry';
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { WorkQueue } from './work-queue.ts';

const forever = new AbortController().signal;

/** Work that runs until it is told to end. */
function gate() {
  let open: () => void = () => undefined;
  const closed = new Promise<void>((resolve) => (open = resolve));
  return { open, work: () => closed };
}

it('runs so much at once, the rest in order', async () => {
  const queue = new WorkQueue({ name: 'sampler', concurrency: 2, maxWaiting: 10 });
  const gates = Array.from({ length: 6 }, gate);
  const started: number[] = [];
  const all = gates.map(({ work }, index) =>
    queue.run(forever, () => {
      started.push(index);
      return work().then(() => index);
    }),
  );
  await turn();
  expect([queue.running, queue.waiting, started]).toEqual([2, 4, [0, 1]]);
  gates[1]?.open();
  await all[1];
  await turn();
  expect(started).toEqual([0, 1, 2]);
  for (const { open } of gates) open();
  expect(await Promise.all(all)).toEqual([0, 1, 2, 3, 4, 5]);
  expect(started).toEqual([0, 1, 2, 3, 4, 5]);
  expect([queue.running, queue.waiting]).toEqual([0, 0]);
});

it('refuses what may not wait, and says when to come back', async () => {
  const queue = new WorkQueue({ name: 'sampler', concurrency: 1, maxWaiting: 1 });
  const { open, work } = gate();
  const first = queue.run(forever, work);
  const second = queue.run(forever, () => Promise.resolve('second'));
  await expect(queue.run(forever, work)).rejects.toMatchObject({
    code: 'resource_exhausted',
    message: 'sampler is busy: 1 running, 1 waiting; try again in 2000 ms',
    retryAfterMs: 2_000, // nothing is known yet: a second for each ahead
  });
  open();
  await first;
  expect(await second).toBe('second');
});

it('estimates by how long work took', async () => {
  const queue = new WorkQueue({ name: 'q', concurrency: 2, maxWaiting: 100 });
  await queue.run(forever, () => sleep(400));
  expect(queue.retryAfterMs).toBeGreaterThanOrEqual(190); // one ahead, two at once
  const before = queue.retryAfterMs;
  const { open, work } = gate();
  const all = Array.from({ length: 6 }, () => queue.run(forever, work));
  await turn();
  expect(queue.waiting).toBe(4);
  expect(queue.retryAfterMs).toBeGreaterThan(4.9 * before);
  open();
  await Promise.all(all);
});

it('goes on after work that fails, also at once', async () => {
  const queue = new WorkQueue({ name: 'q', concurrency: 1, maxWaiting: 5 });
  const broken = queue.run(forever, () => {
    throw new TypeError('broken');
  });
  const next = queue.run(forever, () => Promise.resolve(7));
  await expect(broken).rejects.toThrow('broken');
  expect(await next).toBe(7);
  expect(queue.running).toBe(0);
});

describe('a caller that leaves', () => {
  it('gives its place in the queue to the next', async () => {
    const queue = new WorkQueue({ name: 'q', concurrency: 1, maxWaiting: 2 });
    const { open, work } = gate();
    const first = queue.run(forever, work);
    const hangUp = new AbortController();
    let ran = false;
    const second = queue.run(hangUp.signal, () => Promise.resolve((ran = true)));
    const third = queue.run(forever, () => Promise.resolve('third'));
    hangUp.abort();
    await expect(second).rejects.toMatchObject({ code: 'cancelled' });
    expect(queue.waiting).toBe(1);
    const fourth = queue.run(forever, () => Promise.resolve('fourth')); // there is room again
    open();
    await first;
    expect(await Promise.all([third, fourth])).toEqual(['third', 'fourth']);
    expect(ran).toBe(false);
  });

  it('does not enter at all when it left before', async () => {
    const queue = new WorkQueue({ name: 'q', concurrency: 1, maxWaiting: 0 });
    await expect(queue.run(AbortSignal.abort(), () => Promise.resolve())).rejects.toMatchObject({ code: 'cancelled' });
    expect(queue.running).toBe(0);
  });

  it('keeps its turn until the work ends: the work has the signal', async () => {
    const queue = new WorkQueue({ name: 'q', concurrency: 1, maxWaiting: 0 });
    const hangUp = new AbortController();
    const { open, work } = gate();
    const first = queue.run(hangUp.signal, (signal) => work().then(() => signal.aborted));
    hangUp.abort();
    expect(queue.running).toBe(1);
    open();
    expect(await first).toBe(true);
  });

  it('leaves no listener behind', async () => {
    const queue = new WorkQueue({ name: 'q', concurrency: 1, maxWaiting: 1 });
    const { signal } = new AbortController();
    let listeners = 0;
    const { addEventListener, removeEventListener } = signal;
    signal.addEventListener = (...args: Parameters<typeof addEventListener>) => {
      listeners++;
      addEventListener.apply(signal, args);
    };
    signal.removeEventListener = (...args: Parameters<typeof removeEventListener>) => {
      listeners--;
      removeEventListener.apply(signal, args);
    };
    await Promise.all([queue.run(signal, () => sleep(5)), queue.run(signal, () => sleep(5))]);
    expect(listeners).toBe(0);
  });
});

it('serves generators by turns that are left once, however often one leaves', async () => {
  const queue = new WorkQueue({ name: 'q', concurrency: 1, maxWaiting: 3 });
  const first = await queue.enter(forever);
  expect(first.queuedMs).toBeLessThan(50);
  const second = queue.enter(forever);
  const third = queue.enter(forever);
  await sleep(30);
  first.leave();
  first.leave();
  expect((await second).queuedMs).toBeGreaterThanOrEqual(25);
  expect([queue.running, queue.waiting]).toEqual([1, 1]);
  (await second).leave();
  (await third).leave();
  expect(queue.running).toBe(0);
});

it('tells its state as metrics', async () => {
  const metrics = new Metrics({ process: false });
  const queue = new WorkQueue({ name: 'sampler', concurrency: 1, maxWaiting: 1, metrics });
  const { open, work } = gate();
  const all = [queue.run(forever, work), queue.run(forever, work)];
  await expect(queue.run(forever, work)).rejects.toMatchObject({ code: 'resource_exhausted' });
  await turn();
  const text = await metrics.text();
  expect(text).toContain('clip_gen_queue_running{queue="sampler"} 1');
  expect(text).toContain('clip_gen_queue_waiting{queue="sampler"} 1');
  expect(text).toContain('clip_gen_queue_refused_total{queue="sampler"} 1');
  open();
  await Promise.all(all);
  expect(await metrics.text()).toContain('clip_gen_queue_running{queue="sampler"} 0');
  expect(await metrics.text()).toContain('clip_gen_queue_wait_seconds_count{queue="sampler"} 2');
});
