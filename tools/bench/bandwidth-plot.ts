/** One measurement. */
export interface BandwidthPoint {
  readonly series: string;
  readonly bytes: number;
  readonly gigabytesPerSecond: number;
}

/** Measurements that share axes. */
export interface BandwidthPanel {
  readonly title: string;
  readonly points: readonly BandwidthPoint[];
}

const [WIDTH, HEIGHT, LEFT, TOP, GAP, FOOT] = [400, 260, 56, 40, 90, 76];
const COLOURS = ['#0b6bcb', '#58a6e8', '#1a8f4c', '#7fc98f', '#c2410c', '#6b7280', '#9333ea', '#ca8a04'];

/** Bandwidth over size, both logarithmic, one panel beside the other, as an SVG. */
export function bandwidthPlot(panels: readonly BandwidthPanel[]): string {
  const all = panels.flatMap(({ points }) => points);
  const series = [...new Set(all.map((point) => point.series))];
  const sizes = [...new Set(all.map(({ bytes }) => bytes))].sort((a, b) => a - b);
  const speeds = all.map((point) => point.gigabytesPerSecond);
  const [bottom, top] = [Math.floor(Math.log10(Math.min(...speeds))), Math.ceil(Math.log10(Math.max(...speeds)))];
  const [first, last] = [Math.log10(sizes[0]!), Math.log10(sizes.at(-1)!)];
  const y = (speed: number): number => TOP + HEIGHT * (1 - (Math.log10(speed) - bottom) / (top - bottom || 1));
  const text = (x: number, at: number, anchor: string, words: string, size = 12): string =>
    `<text x="${x.toFixed(1)}" y="${at.toFixed(1)}" text-anchor="${anchor}" font-size="${size}">${words}</text>`;
  const decades = Array.from({ length: top - bottom + 1 }, (_, i) => 10 ** (bottom + i));
  const parts = panels.flatMap(({ title, points }, panel) => {
    const left = LEFT + panel * (WIDTH + GAP);
    const x = (bytes: number): number => left + (WIDTH * (Math.log10(bytes) - first)) / (last - first || 1);
    const grid = decades.flatMap((speed) => [
      `<line x1="${left}" x2="${left + WIDTH}" y1="${y(speed).toFixed(1)}" y2="${y(speed).toFixed(1)}" stroke="#d4d4d8"/>`,
      text(left - 6, y(speed) + 4, 'end', String(Number(speed.toPrecision(1)))),
    ]);
    const ticks = sizes.map((bytes) => text(x(bytes), TOP + HEIGHT + 18, 'middle', sizeOf(bytes)));
    const lines = series.flatMap((name, index) => {
      const colour = COLOURS[index % COLOURS.length]!;
      const own = points.filter((point) => point.series === name).sort((a, b) => a.bytes - b.bytes);
      const places = own.map(({ bytes, gigabytesPerSecond: v }) => `${x(bytes).toFixed(1)},${y(v).toFixed(1)}`);
      return [
        `<polyline points="${places.join(' ')}" fill="none" stroke="${colour}" stroke-width="2"/>`,
        ...places.map(
          (place) => `<circle cx="${place.split(',')[0]}" cy="${place.split(',')[1]}" r="3" fill="${colour}"/>`,
        ),
      ];
    });
    return [text(left + WIDTH / 2, TOP - 16, 'middle', `${title}, GB/s`, 14), ...grid, ...ticks, ...lines];
  });
  const width = LEFT + panels.length * (WIDTH + GAP);
  const each = (width - LEFT) / series.length;
  const legend = series.flatMap((name, index) => {
    const [at, line] = [LEFT + index * each, TOP + HEIGHT + FOOT - 24];
    return [
      `<rect x="${at.toFixed(1)}" y="${line - 9}" width="14" height="4" fill="${COLOURS[index % COLOURS.length]}"/>`,
      text(at + 20, line - 3, 'start', name),
    ];
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${TOP + HEIGHT + FOOT}" font-family="sans-serif" fill="#27272a">`,
    '<rect width="100%" height="100%" fill="white"/>',
    ...parts,
    ...legend,
    '</svg>\n',
  ].join('\n');
}

function sizeOf(bytes: number): string {
  return bytes >= 1e6 ? `${bytes / 1e6} MB` : `${bytes / 1e3} KB`;
}
