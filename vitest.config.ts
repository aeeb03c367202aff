import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['apps/*/src/**/*.spec.ts', 'libs/*/src/**/*.spec.ts', 'tools/**/*.spec.ts'],
    exclude: ['**/node_modules/**'],
    // Native sessions and worker threads do not like being shared between worker threads of the test runner.
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    env: { NX_ISOLATE_PLUGINS: 'false' }, // Nx's project graph without a process for each plugin
  },
});
