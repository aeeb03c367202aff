import type { Metrics } from '@clip-gen/telemetry';

/** What the embedding service counts besides what every gRPC server and queue counts. */
export class EmbeddingMetrics {
  readonly #embedded;
  readonly #seconds;

  constructor(metrics: Metrics) {
    this.#embedded = metrics.counter({
      name: 'clip_gen_embeddings_total',
      help: 'Embeddings computed, of `text` or `image`.',
      labels: ['kind'],
    });
    this.#seconds = metrics.histogram({
      name: 'clip_gen_embedding_seconds',
      help: 'Seconds of an embedding: its share of its call, without the wait in the queue.',
      labels: ['kind'],
    });
  }

  embedded(kind: 'text' | 'image', count: number, ms: number): void {
    this.#embedded.inc({ kind }, count);
    this.#seconds.observe({ kind }, ms / 1000 / count);
  }
}
