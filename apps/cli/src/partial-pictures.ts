import {
  hasPreview,
  openPreviewOf,
  partialPositions,
  PictureDecoder,
  PreviewDecoder,
  type GridDecoder,
  type Model,
  type ModelDecoder,
  type ModelParts,
  type Progress,
} from '@clip-gen/generation';
import type { RgbImage } from '@clip-gen/image';

/** Which partial pictures are wanted. */
export interface PartialsRequest {
  readonly model: string;
  /** Pictures of the first candidate on the way. */
  readonly count: number;
  /** Of the pictures themselves. */
  readonly decoder: ModelDecoder;
  /** Default: the preview where the model has one and `decoder` is the VQGAN's, else `decoder`. */
  readonly partialDecoder?: ModelDecoder;
}

/** Loads the decoder of partial pictures beside a model; nothing where it is the model's own. */
export type OpenPartialDecoder = (engine: { readonly threads?: number }) => Promise<GridDecoder | undefined>;

/**
 * Decides who makes the partial pictures and looks at their files, before anything is loaded.
 *
 * @throws not_found with the next step where a preview decoder is asked for and there is none
 */
export async function planPartials(
  { model, count, decoder, partialDecoder }: PartialsRequest,
  parts: ModelParts,
): Promise<OpenPartialDecoder> {
  const usual = decoder === 'vqgan' && (await hasPreview(model)) ? 'preview' : decoder;
  const chosen = partialDecoder ?? usual;
  if (count === 0 || chosen === decoder) return () => Promise.resolve(undefined);
  if (chosen === 'vqgan') return (engine) => PictureDecoder.open(parts.vqgan, engine);
  const preview = await openPreviewOf(model, parts.vqgan);
  return (engine) => PreviewDecoder.open(preview, engine);
}

/**
 * Pictures of a grid that is not full yet, at even distances over its positions, as the services send them: positions to
 * come show the code of the last one. They are decoded beside the drawing of tokens, which does not wait for them.
 */
export class PartialPictures {
  readonly #due: readonly number[];
  readonly #made: Promise<void>[] = [];

  /**
   * @param decoder the model's where undefined
   * @param show told of each picture; it must not throw synchronously
   */
  constructor(
    count: number,
    private readonly model: Model,
    private readonly decoder: GridDecoder | undefined,
    private readonly show: (index: number, image: RgbImage) => Promise<void>,
  ) {
    this.#due = partialPositions(count, model.parts.gpt.config.tokens);
  }

  /** Pictures that have begun: fewer than were asked for of a grid with hardly more positions. */
  get begun(): number {
    return this.#made.length;
  }

  /** Begins what has become due. */
  update({ first }: Progress): void {
    if (first === undefined) return;
    for (let index = this.#made.length; index < this.#due.length && this.#due[index]! <= first.known; index++) {
      const known = this.#due[index]!;
      const grid = first.tokens.slice().fill(first.tokens[known - 1]!, known);
      const made = (this.decoder ?? this.model.pictureDecoder).decode(grid).then((image) => this.show(index, image));
      made.catch(() => undefined); // thrown by `finish`, which may come long after
      this.#made.push(made);
    }
  }

  /** Waits for all that has begun. @throws the first error of decoder or `show` */
  async finish(): Promise<void> {
    await Promise.all(this.#made);
  }
}
