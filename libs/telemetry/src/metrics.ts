import { ClipGenError } from '@clip-gen/errors';
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';

/** What a metric is declared with. */
export interface MetricOptions<Label extends string = never> {
  /** With its unit and, for counters, `_total` at the end: `clip_gen_tokens_total`, `clip_gen_queue_wait_seconds`. */
  readonly name: string;
  /** One sentence. */
  readonly help: string;
  /** Names of labels; each combination of values is a series, so values come from a small closed set. */
  readonly labels?: readonly Label[];
}

/** Seconds, from 1 ms to 2 minutes: calls that may draw a whole picture. */
export const SECONDS_BUCKETS: readonly number[] = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120,
];

/** What `/metrics` shows. */
export interface MetricsText {
  /** Of the text. */
  readonly contentType: string;
  text(): Promise<string>;
}

/**
 * The metrics of one service, in Prometheus' text format. Each instance stands alone, so that several services can run in
 * one process. Declaring a metric again gives the one that exists.
 */
export class Metrics implements MetricsText {
  private readonly registry = new Registry();
  private readonly declared = new Map<string, Declared>();

  /**
   * @param options `process`: also the process's CPU, memory, event loop and collector; default true. `service`: stands as
   * a label in every series, where several services are shown together.
   */
  constructor({ process = true, service }: { readonly process?: boolean; readonly service?: string } = {}) {
    if (process) collectDefaultMetrics({ register: this.registry });
    if (service !== undefined) this.registry.setDefaultLabels({ service });
  }

  /** What is asked for with `Accept`. */
  get contentType(): string {
    return this.registry.contentType;
  }

  /** Only rises. */
  counter<Label extends string = never>(options: MetricOptions<Label>): Counter<Label> {
    return this.declare('counter', options, (config) => new Counter<Label>(config), Counter<Label>);
  }

  /** Rises and falls. `collect`, where given, is asked for the value when metrics are read. */
  gauge<Label extends string = never>(
    options: MetricOptions<Label> & { readonly collect?: () => number },
  ): Gauge<Label> {
    const { collect } = options;
    return this.declare(
      'gauge',
      options,
      (config) =>
        new Gauge<Label>({
          ...config,
          ...(collect && {
            collect(this: Gauge<Label>) {
              this.set(collect());
            },
          }),
        }),
      Gauge<Label>,
    );
  }

  /** How values spread. @param options `buckets`: rising upper bounds; default `SECONDS_BUCKETS` */
  histogram<Label extends string = never>(
    options: MetricOptions<Label> & { readonly buckets?: readonly number[] },
  ): Histogram<Label> {
    const buckets = [...(options.buckets ?? SECONDS_BUCKETS)];
    return this.declare(
      'histogram',
      options,
      (config) => new Histogram<Label>({ ...config, buckets }),
      Histogram<Label>,
    );
  }

  /** All metrics in Prometheus' text format. */
  async text(): Promise<string> {
    return this.registry.metrics();
  }

  /** The service's own metrics as a Markdown table, by name; those of the process are left out. */
  describe(): string {
    const rows = [...this.declared.values()]
      .sort((a, b) => (a.name < b.name ? -1 : 1))
      .map(({ name, kind, labels, help }) => [
        `\`${name}\``,
        kind,
        labels.map((label) => `\`${label}\``).join(', '),
        help,
      ]);
    const table = [['metric', 'kind', 'labels', 'what it tells'], ...rows];
    const widths = [0, 1, 2, 3].map((column) => Math.max(...table.map((row) => row[column]?.length ?? 0)));
    const lines = table.map((row) => `| ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`);
    lines.splice(1, 0, `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`);
    return lines.join('\n');
  }

  private declare<Label extends string, Metric extends object>(
    kind: Declared['kind'],
    { name, help, labels = [] }: MetricOptions<Label>,
    create: (config: { name: string; help: string; labelNames: Label[]; registers: Registry[] }) => Metric,
    metricClass: abstract new (...args: never[]) => Metric,
  ): Metric {
    const before = this.declared.get(name);
    if (before !== undefined) {
      if (before.kind === kind && before.labels.join() === labels.join() && before.metric instanceof metricClass) {
        return before.metric;
      }
      throw new ClipGenError('internal', `metric ${name} is declared twice with different kinds or labels`);
    }
    const metric = create({ name, help, labelNames: [...labels], registers: [this.registry] });
    this.declared.set(name, { name, kind, labels, help, metric });
    return metric;
  }
}

interface Declared {
  readonly name: string;
  readonly kind: 'counter' | 'gauge' | 'histogram';
  readonly labels: readonly string[];
  readonly help: string;
  readonly metric: object;
}
