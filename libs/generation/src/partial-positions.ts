/**
 * Known positions at which partial pictures of a grid are due: they cut its T tokens into even pieces.
 *
 * @param count pictures wanted
 * @param tokens T, positions of the grid
 * @returns rising, each in [1, T − 1]; fewer than `count` where pieces would be empty
 */
export function partialPositions(count: number, tokens: number): number[] {
  const at = Array.from({ length: count }, (_, i) => Math.round(((i + 1) * tokens) / (count + 1)));
  return [...new Set(at)].filter((position) => position > 0 && position < tokens);
}
