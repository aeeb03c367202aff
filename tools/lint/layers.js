/**
 * Which layer may import which: one way, lower layers know nothing of upper ones. A project names its layer with the
 * tag `layer:<name>` under `nx.tags` in its package.json.
 *
 * `command` is apps/cli alone: the one program that starts the others, so the only one that may import an app
 * (`clip-gen train` runs what apps/trainer exports). Apps do not import each other; they meet through proto/.
 */
const LAYERS = {
  base: ['base'],
  format: ['base', 'format'],
  engine: ['base', 'format', 'engine'],
  model: ['base', 'format', 'engine', 'model'],
  serve: ['base', 'serve'],
  app: ['base', 'format', 'engine', 'model', 'serve'],
  command: ['base', 'format', 'engine', 'model', 'serve', 'app'],
  test: ['base', 'format', 'test'],
};

/**
 * Options of `@nx/enforce-module-boundaries`.
 *
 * @param {{ spec: boolean }} file whether the linted file is a test: only tests may import the `test` layer
 */
export function moduleBoundaries({ spec }) {
  return {
    depConstraints: Object.entries(LAYERS).map(([layer, below]) => ({
      sourceTag: `layer:${layer}`,
      onlyDependOnLibsWithTags: [...new Set(spec ? [...below, 'test'] : below)].map((name) => `layer:${name}`),
    })),
    // An npm package that a file imports must stand in that project's own package.json (or the root's).
    banTransitiveDependencies: true,
    // libs/testing stands on the low layers whose specs use it: a cycle of test files, not of code.
    ignoredCircularDependencies: [
      ['@clip-gen/testing', 'tag:layer:base'],
      ['@clip-gen/testing', 'tag:layer:format'],
    ],
  };
}
