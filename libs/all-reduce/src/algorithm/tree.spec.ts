import { expect, it } from 'vitest';
import { inOrderTree, rootedTree, type TreeNode } from './tree.ts';

const SIZES = Array.from({ length: 33 }, (_, i) => i + 1);

/** Levels below the root; fails unless it is one tree over all places, with parents and children that agree. */
function depthOf(nodes: readonly TreeNode[]): number {
  const roots = nodes.flatMap(({ parent }, place) => (parent === undefined ? [place] : []));
  expect(roots).toHaveLength(1);
  const seen = new Set(roots);
  let depth = 0;
  for (let level = roots; level.length > 0; depth++) {
    level = level.flatMap((place) => {
      const { children } = nodes[place]!;
      expect(children.length).toBeLessThanOrEqual(2);
      for (const child of children) expect(nodes[child]!.parent).toBe(place);
      return children;
    });
    for (const place of level) seen.add(place);
  }
  expect(seen.size).toBe(nodes.length);
  return depth - 1;
}

it.each(SIZES)('spans %i places by two trees, each place an inner node of at most one', (size) => {
  const places = Array.from({ length: size }, (_, place) => place);
  const trees = [0, 1].map((shift) => places.map((place) => inOrderTree(size, shift, place)));
  for (const nodes of trees) expect(depthOf(nodes)).toBeLessThanOrEqual(Math.ceil(Math.log2(size + 1)));
  for (const place of places) {
    const inner = trees.filter((nodes) => nodes[place]!.children.length > 0);
    expect(inner.length, `place ${place}`).toBeLessThanOrEqual(1);
  }
});

it.each([1, 2, 5, 8, 13])('spans %i places from any root in few levels', (size) => {
  for (let root = 0; root < size; root++) {
    const nodes = Array.from({ length: size }, (_, place) => rootedTree(size, root, place));
    expect(nodes[root]!.parent).toBeUndefined();
    expect(depthOf(nodes)).toBe(Math.floor(Math.log2(size)));
  }
});
