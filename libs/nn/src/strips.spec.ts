import { GraphBuilder } from '@clip-gen/graph';
import { tensor } from '@clip-gen/tensor';
import { runGraph } from '@clip-gen/testing';
import { describe, expect, it } from 'vitest';
import { mapOfStrips, rowsOf, stripEdges, withNeighbours, type StripedMap } from './strips.ts';

const BLOCK = 2;

describe('stripEdges', () => {
  it.each([
    [[1, 128, 64, 64], [[0, 64]]], // 2 MiB
    [
      [1, 128, 128, 128],
      [
        [0, 64],
        [64, 128],
      ],
    ], // 8 MiB
    [
      [1, 128, 68, 256],
      [
        [0, 24],
        [24, 44],
        [44, 68],
      ],
    ], // whole tiles of four rows
    [
      [1, 16, 6, 32768],
      [
        [0, 2],
        [2, 4],
        [4, 6],
      ],
    ],
    [
      [1, 16, 3, 65536],
      [
        [0, 1],
        [1, 2],
        [2, 3],
      ],
    ],
  ] as const)('of %j', (shape, edges) => {
    expect(stripEdges(shape)).toEqual(edges);
  });

  it('cuts a large map into few strips', () => {
    const edges = stripEdges([1, 128, 4096, 4096]);
    expect(edges.length).toBe(32);
    expect(edges.at(-1)![1]).toBe(4096);
  });
});

/** A map of 4 channels, 6 rows and 3 columns in strips, its values counted in memory order of the whole. */
function example(graph: GraphBuilder): { map: StripedMap; whole: Float32Array } {
  const [channels, height, width] = [4, 6, 3];
  const whole = Float32Array.from({ length: channels * height * width }, (_, i) => i);
  const shape = [1, channels, height, width] as const;
  const map = mapOfStrips(
    shape,
    [
      [0, 1],
      [1, 4],
      [4, 6],
    ],
    (from, to) => {
      const [row, plane] = [width * BLOCK, height * width * BLOCK];
      const rows = [0, 1].flatMap((c) => [...whole.subarray(c * plane + from * row, c * plane + to * row)]);
      return graph.constant(tensor('float32', [1, channels, to - from, width], Float32Array.from(rows)));
    },
  );
  return { map, whole };
}

describe('rowsOf', () => {
  it.each([
    [0, 6],
    [1, 4],
    [2, 3],
    [0, 2],
    [3, 5],
    [0, 5],
  ])('gathers rows %d to %d', async (start, end) => {
    const graph = new GraphBuilder('rows');
    const { map, whole } = example(graph);
    const rows = rowsOf(map, start, end, BLOCK);
    expect(rows.shape).toEqual([1, 4, end - start, 3]);
    graph.output('y', rows);
    const [row, plane] = [3 * BLOCK, 6 * 3 * BLOCK];
    const wanted = [0, 1].flatMap((c) => [...whole.subarray(c * plane + start * row, c * plane + end * row)]);
    expect([...(await runGraph(graph, {}))['y']!.data]).toEqual(wanted);
  });
});

it.each([
  [0, 1, 2, [1, 0]],
  [1, 4, 5, [0, 0]],
  [4, 6, 3, [0, 1]],
  [0, 6, 6, [1, 1]],
] as const)('rows %d to %d have neighbours where the map has them', (from, to, height, missing) => {
  const { map } = example(new GraphBuilder('rows'));
  const found = withNeighbours(map, from, to, BLOCK);
  expect(found.rows.shape).toEqual([1, 4, height, 3]);
  expect(found.missing).toEqual(missing);
});
