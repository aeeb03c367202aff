import { ClipGenError, type ErrorCode } from '@clip-gen/errors';
import { expect, it } from 'vitest';
import { withAttempts } from './attempts.ts';

/** Work that fails with each of the codes in turn, then succeeds. */
function failing(...codes: ErrorCode[]) {
  const control = new AbortController();
  const state = { begun: 0, retries: 0 };
  const run = (attempts: number): Promise<void> =>
    withAttempts(
      async () => {
        const code = codes[state.begun++];
        if (code) throw new ClipGenError(code, `failure ${state.begun}`);
      },
      { attempts, signal: control.signal, onRetry: () => void state.retries++ },
    );
  return { state, control, run };
}

it('begins again while the service is away', async () => {
  const { state, run } = failing('unavailable', 'cancelled');
  await run(3);
  expect(state).toEqual({ begun: 3, retries: 2 });
});

it('gives up after so many attempts', async () => {
  const { state, run } = failing('unavailable', 'unavailable', 'unavailable');
  await expect(run(2)).rejects.toMatchObject({ code: 'unavailable', message: 'failure 2' });
  expect(state.begun).toBe(2);
});

it.each(['invalid_argument', 'internal', 'resource_exhausted', 'deadline_exceeded'] as const)(
  'does not begin again after %s',
  async (code) => {
    const { state, run } = failing(code);
    await expect(run(5)).rejects.toMatchObject({ code });
    expect(state.begun).toBe(1);
  },
);

it('does not begin again for a caller that has gone', async () => {
  const { state, control, run } = failing('unavailable', 'unavailable', 'unavailable');
  const running = run(5);
  control.abort();
  await expect(running).rejects.toThrow();
  expect(state.begun).toBe(1);
});
