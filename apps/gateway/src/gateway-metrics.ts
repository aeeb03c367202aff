import type { Metrics } from '@clip-gen/telemetry';

/** What the gateway counts besides what every gRPC server and client counts. */
export class GatewayMetrics {
  readonly #stages;
  readonly #retries;
  readonly #requests;
  readonly #durations;

  constructor(metrics: Metrics) {
    this.#stages = metrics.histogram({
      name: 'clip_gen_generation_stage_seconds',
      help: 'Seconds from arrival until a request has begun, sent its first_partial, is sampled, is finished.',
      labels: ['stage'],
    });
    this.#retries = metrics.counter({
      name: 'clip_gen_generation_retries_total',
      help: 'Stages that were begun again because a replica went away.',
      labels: ['stage'],
    });
    this.#requests = metrics.counter({
      name: 'clip_gen_http_requests_total',
      help: 'HTTP answers by route and status; 499 when the client hung up first.',
      labels: ['route', 'status'],
    });
    this.#durations = metrics.histogram({
      name: 'clip_gen_http_request_seconds',
      help: 'Seconds from request to the end of its answer.',
      labels: ['route'],
    });
  }

  /** @param ms from arrival */
  reached(stage: 'begun' | 'first_partial' | 'sampled' | 'finished', ms: number): void {
    this.#stages.observe({ stage }, ms / 1000);
  }

  retried(stage: string): void {
    this.#retries.inc({ stage });
  }

  /** @param route as registered, so that its values are few */
  answered(route: string, status: number, ms: number): void {
    this.#requests.inc({ route, status: String(status) });
    this.#durations.observe({ route }, ms / 1000);
  }
}
