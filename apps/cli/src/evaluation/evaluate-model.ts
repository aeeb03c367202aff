import {
  generate,
  hasPreview,
  loadModel,
  openModelParts,
  openPreviewOf,
  PictureTokenizer,
  PreviewDecoder,
  tokenizePrompt,
  validateRequest,
  type GenerationRequest,
  type Model,
  type PreviewPart,
  type ValidRequest,
} from '@clip-gen/generation';
import {
  draw,
  listCaptionedPictures,
  listPictures,
  readCommonPrompts,
  readSquare,
  type CaptionedPicture,
} from './emoji-data.ts';
import { psnr } from './reconstruction.ts';
import { rankOneHits } from './retrieval.ts';
import { TokenScorer } from './token-scorer.ts';
import { TokenUsage } from './token-usage.ts';

export interface EvaluationRequest {
  readonly model: string;
  /** Folder of the emoji data set. */
  readonly data: string;
  /** Held-out pictures for reconstruction and cross-entropy, at most. */
  readonly pictures: number;
  /** Pictures, and captions, of each retrieval, at most. */
  readonly retrieval: number;
  /** Prompts of the prompt check, at most. */
  readonly prompts: number;
  /** Decides which prompts and pictures are drawn, and every token. */
  readonly seed: number;
  /** How the prompt check draws; what is left open is the model's default. */
  readonly sampling: Omit<GenerationRequest, 'prompt' | 'pictures' | 'seed'>;
  readonly threads?: number;
}

export interface Share {
  readonly hits: number;
  readonly of: number;
}

/** What `evaluate` finds. */
export interface Evaluation {
  /** Mean over held-out pictures of each picture's PSNR, dB. */
  readonly reconstructionPsnr: number;
  /** Of a model with a preview decoder, the same for its pictures: to the VQGAN's, and to the held-out ones. */
  readonly previewPsnr?: { readonly vqgan: number; readonly original: number };
  /** Held-out pictures that the first three lines are of. */
  readonly pictures: number;
  readonly usedCodes: number;
  readonly codebookSize: number;
  readonly tokenPerplexity: number;
  /** Nats a token. */
  readonly tokenCrossEntropy: number;
  /** Picture to its caption, first of so many. */
  readonly retrievalHeldout: Share;
  readonly retrievalTrain: Share;
  /** Prompts whose best picture is nearer to them than to all other prompts. */
  readonly promptCheck: Share;
  /** Mean cosine of those pictures with their prompts. */
  readonly promptScore: number;
  /** How those pictures were drawn. */
  readonly sampling: ValidRequest['sampling'];
}

export type Note = (stage: string, done: number, total: number) => void;

/**
 * Measures a model on the emoji data set. Everything that can be missing or out of bounds is looked for before the
 * model is loaded.
 *
 * @throws what opening the model and the data throws; cancelled
 */
export async function evaluateModel(request: EvaluationRequest, note: Note, signal: AbortSignal): Promise<Evaluation> {
  const { data, seed } = request;
  const heldout = draw(await listPictures(data, 'heldout'), request.pictures, seed);
  const captioned = {
    heldout: draw(await listCaptionedPictures(data, 'heldout'), request.retrieval, seed),
    train: draw(await listCaptionedPictures(data, 'train'), request.retrieval, seed),
  };
  const prompts = draw(await readCommonPrompts(data), request.prompts, seed);
  const parts = await openModelParts(request.model);
  const previewPart = (await hasPreview(request.model)) ? await openPreviewOf(request.model, parts.vqgan) : undefined;
  const { vocabularySize } = parts.gpt.config;
  const [first] = prompts.map((prompt) => {
    tokenizePrompt(parts.clip, prompt);
    return validateRequest(promptRequest(request, prompt), vocabularySize, parts.defaults);
  });
  const model = await loadModel(parts, { threads: request.threads });
  try {
    const pictures = await judgePictures(model, previewPart, heldout, request.threads, note, signal);
    const retrievalHeldout = await judgeRetrieval(model, captioned.heldout, 'held-out retrieval', note, signal);
    const retrievalTrain = await judgeRetrieval(model, captioned.train, 'train retrieval', note, signal);
    const prompted = await judgePrompts(model, prompts, request, note, signal);
    return { ...pictures, retrievalHeldout, retrievalTrain, ...prompted, sampling: first!.sampling };
  } finally {
    await model.close();
  }
}

async function judgePictures(
  model: Model,
  previewPart: PreviewPart | undefined,
  paths: readonly string[],
  threads: number | undefined,
  note: Note,
  signal: AbortSignal,
) {
  const { vqgan, gpt } = model.parts;
  const tokenizer = await PictureTokenizer.open(vqgan, { threads });
  const scorer = await TokenScorer.open(gpt, { threads });
  const preview = previewPart && (await PreviewDecoder.open(previewPart, { threads }));
  const previewSums = { vqgan: 0, original: 0 };
  const usage = new TokenUsage(vqgan.config.codebookSize);
  let psnrSum = 0;
  let crossEntropySum = 0;
  try {
    for (const [i, path] of paths.entries()) {
      const picture = await readSquare(path, vqgan.config.imageSize);
      const tokens = await tokenizer.tokenize(picture, { signal });
      usage.add(tokens);
      const decoded = await model.pictureDecoder.decode(tokens, { signal });
      psnrSum += psnr(picture, decoded);
      if (preview) {
        const previewed = await preview.decode(tokens, { signal });
        previewSums.vqgan += psnr(decoded, previewed);
        previewSums.original += psnr(picture, previewed);
      }
      const [embedding] = await model.imageEncoder.encode([picture], { signal });
      crossEntropySum += await scorer.score(embedding!, tokens, { signal });
      note('held-out pictures', i + 1, paths.length);
    }
  } finally {
    await tokenizer.close();
    await scorer.close();
    await preview?.close();
  }
  return {
    pictures: paths.length,
    reconstructionPsnr: psnrSum / paths.length,
    ...(preview && {
      previewPsnr: { vqgan: previewSums.vqgan / paths.length, original: previewSums.original / paths.length },
    }),
    usedCodes: usage.used,
    codebookSize: usage.codebookSize,
    tokenPerplexity: usage.perplexity,
    tokenCrossEntropy: crossEntropySum / paths.length,
  };
}

async function judgeRetrieval(
  model: Model,
  pictures: readonly CaptionedPicture[],
  stage: string,
  note: Note,
  signal: AbortSignal,
): Promise<Share> {
  const side = model.parts.clip.config.vision.imageSize;
  const images: Float32Array[] = [];
  const texts: Float32Array[] = [];
  for (const [i, { path, caption }] of pictures.entries()) {
    images.push(...(await model.imageEncoder.encode([await readSquare(path, side)], { signal })));
    texts.push(...(await model.textEncoder.encode([caption], { signal })));
    note(stage, i + 1, pictures.length);
  }
  return { hits: rankOneHits(images, texts), of: pictures.length };
}

async function judgePrompts(
  model: Model,
  prompts: readonly string[],
  request: EvaluationRequest,
  note: Note,
  signal: AbortSignal,
) {
  const texts = await model.textEncoder.encode(prompts, { signal });
  const images: Float32Array[] = [];
  let scoreSum = 0;
  for (const [i, prompt] of prompts.entries()) {
    const { pictures } = await generate(model, promptRequest(request, prompt), undefined, { signal });
    images.push(...(await model.imageEncoder.encode([pictures[0]!.image], { signal })));
    scoreSum += pictures[0]!.score;
    note('prompts', i + 1, prompts.length);
  }
  return {
    promptCheck: { hits: rankOneHits(images, texts), of: prompts.length },
    promptScore: scoreSum / prompts.length,
  };
}

/** The best of the candidates for one prompt of the prompt check. */
function promptRequest({ sampling, seed }: EvaluationRequest, prompt: string): GenerationRequest {
  return { ...sampling, prompt, pictures: 1, seed };
}
