import type { Metrics } from '@clip-gen/telemetry';

/** What the decoder counts besides what every gRPC server and queue counts. */
export class DecoderMetrics {
  readonly #pictures;
  readonly #decode;
  readonly #encoded;

  constructor(metrics: Metrics) {
    this.#pictures = metrics.counter({
      name: 'clip_gen_decoder_pictures_total',
      help: 'Pictures decoded, `partial` or `final`.',
      labels: ['kind'],
    });
    this.#decode = metrics.histogram({
      name: 'clip_gen_decoder_picture_seconds',
      help: 'Seconds of a picture: its share of the network and of writing its format.',
    });
    this.#encoded = metrics.counter({
      name: 'clip_gen_decoder_encoded_total',
      help: 'Pictures turned into tokens.',
    });
  }

  decoded(kind: 'partial' | 'final', ms: number): void {
    this.#pictures.inc({ kind });
    this.#decode.observe(ms / 1000);
  }

  encoded(pictures: number): void {
    this.#encoded.inc(pictures);
  }
}
