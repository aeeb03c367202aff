import { gradients } from '@clip-gen/autodiff';
import { encodeImage, encodeText, fromSignedPixels, logitScale, normalizeRows, type ClipConfig } from '@clip-gen/clip';
import { concat, GraphBuilder, mul, slice, type Value } from '@clip-gen/graph';
import { contrastive, contrastiveShare, type PairedRows } from '@clip-gen/losses';
import { Scope, type ParameterSpec } from '@clip-gen/nn';
import { outputGradients } from '../step-graph.ts';

/** Outputs of the encoding graphs: unit rows (B, E) of both towers. */
export const ROWS = ['image_rows', 'text_rows'] as const;

/** Rows that a tower encodes at a time: with more, what one operator writes has left the cache when the next reads it. */
const CHUNK = 32;

/** A whole step of a batch that one run of one process has: images, tokens → `loss` and gradients. */
export function contrastiveGraph(
  config: ClipConfig,
  batch: number,
): { readonly graph: GraphBuilder; readonly specs: readonly ParameterSpec[] } {
  const graph = new GraphBuilder('clip-step');
  const scope = new Scope(graph);
  const { images, texts } = towers(scope, config, batch);
  const loss = contrastive(images, texts, logitScale(scope));
  graph.output('loss', loss);
  outputGradients(
    graph,
    loss,
    graph.parameters.map((parameter) => parameter.name),
  );
  return { graph, specs: scope.specs };
}

/** images (B, 3, S, S), tokens int64 (B, context) → {@link ROWS}. */
export function encodingGraph(config: ClipConfig, batch: number): GraphBuilder {
  const graph = new GraphBuilder('clip-rows');
  const { images, texts } = towers(new Scope(graph), config, batch);
  graph.output(ROWS[0], images);
  graph.output(ROWS[1], texts);
  return graph;
}

/**
 * The same, and the gradients of the towers' parameters from the gradients that arrive at the rows: the inputs
 * `from_image_rows` and `from_text_rows`, of which the rows need nothing.
 */
export function divisibleGraph(config: ClipConfig, batch: number): GraphBuilder {
  const graph = encodingGraph(config, batch);
  const names = graph.parameters.map((parameter) => parameter.name);
  const targets = ROWS.map((name) => {
    const { value } = graph.outputs.find((output) => output.name === name)!;
    return { value, cotangent: graph.input(`from_${name}`, 'float32', value.shape) };
  });
  outputGradients(graph, targets, names);
  return graph;
}

/**
 * The loss of some rows of a batch against all: `image_rows`, `text_rows` (b, E), `all_image_rows`, `all_text_rows`
 * (N, E) and the parameter `logit_scale` → `loss`, and `factor` times its gradients, as `grad.<input>`.
 *
 * @param first place of the first of the rows among all
 */
export function shareGraph(own: number, all: number, width: number, first: number, factor: number): GraphBuilder {
  const graph = new GraphBuilder('clip-share');
  const pair = (prefix: string, rows: number): PairedRows => ({
    images: graph.input(`${prefix}${ROWS[0]}`, 'float32', [rows, width]),
    texts: graph.input(`${prefix}${ROWS[1]}`, 'float32', [rows, width]),
  });
  const scale = logitScale(new Scope(graph));
  const loss = contrastiveShare(pair('', own), pair('all_', all), scale, first);
  graph.output('loss', loss);
  const at = [...graph.inputs, scale];
  gradients(mul(loss, factor), at).forEach((gradient, i) => graph.output(`grad.${at[i]!.name}`, gradient));
  return graph;
}

/** `image_rows`, `text_rows` (n, E) and the parameter `logit_scale` → `loss`. */
export function rowsLossGraph(rows: number, width: number): GraphBuilder {
  const graph = new GraphBuilder('clip-rows-loss');
  const [images, texts] = ROWS.map((name) => graph.input(name, 'float32', [rows, width])) as [Value, Value];
  graph.output('loss', contrastive(images, texts, logitScale(new Scope(graph))));
  return graph;
}

function towers(scope: Scope, config: ClipConfig, batch: number): PairedRows {
  const { imageSize } = config.vision;
  const images = scope.graph.input('images', 'float32', [batch, 3, imageSize, imageSize]);
  const tokens = scope.graph.input('tokens', 'int64', [batch, config.text.contextLength]);
  return {
    images: normalizeRows(inChunks(images, (part) => encodeImage(scope, config, fromSignedPixels(part)))),
    texts: normalizeRows(inChunks(tokens, (part) => encodeText(scope, config, part))),
  };
}

/** `encode` of (B, …) in chunks of rows, put together again. */
function inChunks(rows: Value, encode: (part: Value) => Value): Value {
  const batch = rows.shape[0] as number;
  if (batch <= CHUNK) return encode(rows);
  const parts: Value[] = [];
  for (let start = 0; start < batch; start += CHUNK) {
    parts.push(encode(slice(rows, 0, start, Math.min(batch, start + CHUNK))));
  }
  return concat(parts, 0);
}
