/**
 * The results of `make(start)` … `make(end − 1)` in order, with up to `depth` under way ahead of the consumer. Nothing
 * is made before the first `next()`, nor after the consumer has left.
 */
export async function* prefetched<T>(
  start: number,
  end: number,
  depth: number,
  make: (step: number) => Promise<T>,
): AsyncGenerator<T, void, undefined> {
  const queue: Promise<T>[] = [];
  let next = start;
  const fill = (): void => {
    while (next < end && queue.length < depth) {
      const result = make(next++);
      // Reported when its turn comes, or not at all when the consumer has left.
      result.catch(() => undefined);
      queue.push(result);
    }
  };
  for (let step = start; step < end; step++) {
    fill();
    const result = await queue.shift()!;
    fill();
    yield result;
  }
}
