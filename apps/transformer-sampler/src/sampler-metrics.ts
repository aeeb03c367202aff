import type { Metrics } from '@clip-gen/telemetry';

/** What the sampler counts besides what every gRPC server and queue counts. */
export class SamplerMetrics {
  readonly #tokens;
  readonly #steps;
  readonly #grids;
  readonly #stalled;

  constructor(metrics: Metrics) {
    this.#tokens = metrics.counter({
      name: 'clip_gen_sampler_tokens_total',
      help: 'Tokens drawn.',
    });
    this.#steps = metrics.histogram({
      name: 'clip_gen_sampler_step_seconds',
      help: 'Seconds of a step: one token of each row.',
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5],
    });
    this.#grids = metrics.histogram({
      name: 'clip_gen_sampler_grids',
      help: 'Grids of a call: conditions times candidates.',
      buckets: [1, 2, 4, 8, 16, 32, 64, 128, 256],
    });
    this.#stalled = metrics.counter({
      name: 'clip_gen_sampler_stalled_seconds_total',
      help: 'Seconds in which sampling stood still for a slow reader.',
    });
  }

  begun(grids: number): void {
    this.#grids.observe(grids);
  }

  stepped(ms: number, tokens: number): void {
    this.#steps.observe(ms / 1000);
    this.#tokens.inc(tokens);
  }

  stalled(ms: number): void {
    if (ms > 0) this.#stalled.inc(ms / 1000);
  }
}
