/**
 * Which layer may import which: one way, lower layers know nothing of upper ones. A project names its layer with the
 * tag `layer:<name>` under `nx.tags` in its package.json.
 *
 * `command` is apps/cli alone: the one program that starts the others, so the only one that may import an app
 * (`clip-gen train` runs what apps/trainer exports). Apps do not import each other; they meet through proto/.
 */
export const LAYERS = {
  base: ['base'],
  format: ['base', 'format'],
  engine: ['base', 'format', 'engine'],
  model: ['base', 'format', 'engine', 'model'],
  serve: ['base', 'serve'],
  app: ['base', 'format', 'engine', 'model', 'serve'],
  command: ['base', 'format', 'engine', 'model', 'serve', 'app'],
  test: ['base', 'format', 'engine', 'test'],
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
    // A package may be loaded at start in one file and on demand in another.
    checkDynamicDependenciesExceptions: ['.*'],
    // libs/testing stands on the layers whose specs use it: a ring of test files, not of code. The rule sees whole
    // projects only and would pass a ring of code that also leads through libs/testing; tools/workspace.spec.ts
    // looks at code files alone and would not.
    ignoredCircularDependencies: ['base', 'format', 'engine'].map((layer) => [
      '@clip-gen/testing',
      `tag:layer:${layer}`,
    ]),
  };
}
