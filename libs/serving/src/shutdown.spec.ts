import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { expect, it, onTestFinished } from 'vitest';

const folder = fileURLToPath(new URL('..', import.meta.url));

/** A process with `handler` for shutdown that something holds open; ready when this returns. */
async function program(handler: string, hold = 'const timer = setInterval(() => undefined, 1000);') {
  const source = `
    import { onShutdown } from '@clip-gen/serving';
    import { createLogger } from '@clip-gen/telemetry';
    ${hold}
    onShutdown(${handler}, { logger: createLogger({ service: 'test' }) });
    console.log('ready');
  `;
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', source], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  const exited = once(child, 'exit').then(([code, signal]: unknown[]) => ({ code, signal, output }));
  await expect.poll(() => output, { timeout: 60_000 }).toContain('ready');
  return { child, exited };
}

it.each(['SIGTERM', 'SIGINT'] as const)('%s runs the handler; then the process ends by itself', async (signal) => {
  const { child, exited } = await program(`async () => { clearInterval(timer); console.log('drained'); }`);
  child.kill(signal);
  const { code, output } = await exited;
  expect(code).toBe(0);
  expect(output).toContain(`"signal":"${signal}","msg":"shutting down"`);
  expect(output).toContain('drained');
});

it('a second signal ends it at once', async () => {
  const { child, exited } = await program(`() => new Promise(() => console.log('draining'))`);
  child.kill('SIGTERM');
  await once(child.stdout, 'data');
  child.kill('SIGTERM');
  const { code, output } = await exited;
  expect(code).toBe(1);
  expect(output).toContain('told twice');
});

it('a failing handler is logged, and the exit code tells', async () => {
  const { child, exited } = await program(`async () => { clearInterval(timer); throw new Error('cannot close'); }`);
  child.kill('SIGTERM');
  const { code, output } = await exited;
  expect(code).toBe(1);
  expect(output).toContain('cannot close');
});

it('what still holds the process after the handler does not hold it for long', async () => {
  const { child, exited } = await program('async () => {}');
  child.kill('SIGTERM');
  const { code, output } = await exited;
  expect(code).toBe(0);
  expect(output).toContain('something still runs');
});
