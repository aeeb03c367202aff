import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';

/**
 * Gives every library and app a `test` target, so that `npx nx test <project>` and `npx nx affected -t test` run the
 * specs of one folder. `npm test` runs all of them in one process and is what continuous integration counts.
 *
 * @type {import('@nx/devkit').CreateNodesV2}
 */
export const createNodesV2 = [
  '{apps,libs}/*/package.json',
  (files, _options, { workspaceRoot }) =>
    files
      .filter((file) => existsSync(join(workspaceRoot, dirname(file), 'src')))
      .map((file) => {
        const root = dirname(file);
        const command = `vitest run ${root}/src`;
        return [
          file,
          { projects: { [root]: { targets: { test: { command, options: { cwd: '{workspaceRoot}' } } } } } },
        ];
      }),
];
