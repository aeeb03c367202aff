import type { MetricsText } from './metrics.ts';

/**
 * Metrics of several services as one text: each metric's help and type once, then the series of all. They are told apart
 * by the label that each was made with (`new Metrics({ service })`).
 *
 * @param parts at least one
 */
export function shownTogether(parts: readonly [MetricsText, ...MetricsText[]]): MetricsText {
  return {
    contentType: parts[0].contentType,
    async text() {
      const blocks = new Map<string, { readonly head: string; readonly series: string[] }>();
      for (const text of await Promise.all(parts.map((part) => part.text()))) {
        // A metric is `# HELP name …`, `# TYPE name …` and its series, up to the next.
        for (const block of text.split(/^(?=# HELP )/m)) {
          const [, head = '', name = '', series = ''] = /^(# HELP (\S+).*\n# TYPE .*\n)([^]*)$/.exec(block) ?? [];
          if (name === '') continue;
          const known = blocks.get(name) ?? { head, series: [] };
          blocks.set(name, known);
          known.series.push(series.trimEnd());
        }
      }
      const whole = [...blocks.values()].map(
        ({ head, series }) => head + series.filter((lines) => lines !== '').join('\n'),
      );
      return `${whole.join('\n\n')}\n`;
    },
  };
}
