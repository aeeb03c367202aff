import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createProjectGraphAsync, workspaceRoot } from '@nx/devkit';
import ts from 'typescript';
import { expect, it } from 'vitest';
import { LAYERS } from './lint/layers.js';

const graph = await createProjectGraphAsync({ exitOnError: false });

it('finds the projects, each in one known layer', () => {
  const projects = Object.entries(graph.nodes);
  expect(projects.length).toBeGreaterThan(20);
  for (const [name, { data }] of projects) {
    const layers = (data.tags ?? []).filter((tag) => tag.startsWith('layer:'));
    expect(layers, name).toHaveLength(1);
    expect(Object.keys(LAYERS), name).toContain(layers[0]?.slice('layer:'.length));
  }
});

it('has no ring among the projects by the imports of their code, tests left out', async () => {
  const imports = new Map<string, Set<string>>();
  for (const [project, { data }] of Object.entries(graph.nodes)) {
    const targets = new Set<string>();
    for (const file of await codeFiles(data.root)) {
      const { importedFiles } = ts.preProcessFile(await readFile(file, 'utf8'));
      for (const { fileName } of importedFiles) if (fileName in graph.nodes) targets.add(fileName);
    }
    imports.set(project, targets);
  }
  expect([...imports.values()].some((targets) => targets.size > 0)).toBe(true);

  // Take away projects that import nothing that is left; what cannot be taken away is in a ring or leads into one.
  for (let before = -1; before !== imports.size;) {
    before = imports.size;
    for (const [project, targets] of imports) {
      if ([...targets].every((target) => !imports.has(target))) imports.delete(project);
    }
  }
  expect([...imports.keys()]).toEqual([]);
});

it('locks every package by its hash, from no named host, for every platform', async () => {
  const lock = JSON.parse(await readFile(new URL('../package-lock.json', import.meta.url), 'utf8')) as Lock;
  const installed = Object.entries(lock.packages).filter(([path]) => path.includes('node_modules/'));
  expect(installed.length).toBeGreaterThan(300);
  for (const [path, entry] of installed) {
    if (entry.link) continue;
    expect(entry.integrity, path).toMatch(/^sha512-/);
    expect(entry.resolved, path).toBeUndefined();
    // npm 11 refuses a lock that lacks a platform's package which another package names.
    for (const name of Object.keys(entry.optionalDependencies ?? {})) {
      expect(
        installed.some(([other]) => other.endsWith(`node_modules/${name}`)),
        `${path} needs ${name}`,
      ).toBe(true);
    }
  }
});

interface Lock {
  readonly packages: Readonly<
    Record<
      string,
      { link?: boolean; integrity?: string; resolved?: string; optionalDependencies?: Record<string, string> }
    >
  >;
}

/** TypeScript and JavaScript files under `folder`, without its tests. */
async function codeFiles(folder: string): Promise<string[]> {
  const root = join(workspaceRoot, folder);
  const paths = await readdir(root, { recursive: true });
  return paths
    .filter((path) => /\.(ts|js)$/.test(path) && !/\.spec\.ts$|node_modules/.test(path))
    .map((path) => join(root, path));
}
