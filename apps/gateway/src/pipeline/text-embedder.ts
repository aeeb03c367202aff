import { ClipGenError } from '@clip-gen/errors';
import type { WorkQueue } from '@clip-gen/serving';
import type { Peers } from '../peers/peers.ts';
import { blame } from './blame.ts';

export interface TextEmbedderOptions {
  readonly peers: Pick<Peers, 'embeddingClient'>;
  /** Bounds what is at work and what waits: a flood of texts must not fill the service's queue, where pictures go too. */
  readonly queue: WorkQueue;
  /** From arrival to answer. */
  readonly timeoutMs: number;
}

/** Texts for their own sake, beside the texts and pictures of generations. */
export class TextEmbedder {
  constructor(private readonly options: TextEmbedderOptions) {}

  /**
   * The texts' unit vectors (E), in order.
   *
   * @param signal aborts when the client has gone
   * @param clientsField as of {@link blame}
   * @throws InvalidField for a text that the service refuses; resource_exhausted when too much waits; deadline_exceeded;
   * unavailable; cancelled
   */
  async embed(
    texts: readonly string[],
    signal: AbortSignal,
    clientsField: (field: string) => string,
  ): Promise<number[][]> {
    const { peers, queue, timeoutMs } = this.options;
    const control = new AbortController();
    const leave = (): void => control.abort(new ClipGenError('cancelled', 'the client has gone'));
    const timer = setTimeout(() => {
      control.abort(new ClipGenError('deadline_exceeded', `the request took longer than ${timeoutMs} ms`));
    }, timeoutMs);
    if (signal.aborted) leave();
    signal.addEventListener('abort', leave);
    try {
      const { embeddings } = await queue.run(control.signal, () =>
        blame(
          'embedding',
          peers.embeddingClient.embedText({ texts: [...texts] }, { signal: control.signal }),
          clientsField,
        ),
      );
      return embeddings.map(({ values }) => values);
    } catch (error) {
      throw control.signal.aborted ? control.signal.reason : error;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', leave);
    }
  }
}
