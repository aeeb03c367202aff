import type { FileHandle } from 'node:fs/promises';
import { basename } from 'node:path';
import { ClipGenError } from '@clip-gen/errors';
import { encodeModel, type ExternalLocation } from '@clip-gen/graph';
import { ModelProto, TensorProto_DataLocation } from '@clip-gen/onnx-proto';
import { writeBytes, writeWhole } from '@clip-gen/whole-file';
import { exportedGraph, type ExportedGraph } from './exported-graphs.ts';
import type { ModelFolder } from './model-folder.ts';

/** A protobuf file ends below 2 GiB; the graph itself takes a little of that. */
const MAX_STANDALONE_BYTES = 2 ** 31 - (64 << 20);
/** Where each tensor begins in a file of weights, so that it can be mapped. */
const ALIGN_BYTES = 64;

/** Which graph, and where its weights go. */
export interface OnnxOptions {
  /** Default: the first of the network's. */
  readonly graph?: ExportedGraph;
  /** Weights in `FILE.onnx.data` beside the graph in place of inside it. */
  readonly external?: boolean;
}

/** What was written. */
export interface OnnxReport {
  readonly graph: string;
  readonly files: readonly string[];
  readonly bytes: number;
}

/**
 * Writes one graph of a network as ONNX: opset 18 and a few operators of ONNX Runtime's own domain `com.microsoft`. Weights
 * in float16 stay so and are widened when the model loads.
 *
 * @throws failed_precondition for a graph whose weights do not fit into one file; invalid_argument for a graph that the
 * network does not have
 */
export async function exportOnnx(model: ModelFolder, path: string, options: OnnxOptions = {}): Promise<OnnxReport> {
  const { external = false } = options;
  const graph = exportedGraph(model.config, options.graph);
  const dataFile = `${basename(path)}.data`;
  const places: Place[] = [];
  let end = 0;
  const place = (name: string): ExternalLocation => {
    const entry = model.weights.entries.get(name);
    const dtype = entry?.dtype;
    if (!entry || (dtype !== 'float32' && dtype !== 'float16')) {
      const problem = `must hold ${name} as float32 or float16; got ${dtype ?? 'nothing'}`;
      throw new ClipGenError('failed_precondition', `${model.weights.path} ${problem}`);
    }
    const byteOffset = Math.ceil(end / ALIGN_BYTES) * ALIGN_BYTES;
    end = byteOffset + entry.byteLength;
    places.push({ name, byteOffset });
    return { file: dataFile, byteOffset, byteLength: entry.byteLength, dtype };
  };
  const encoded = encodeModel(graph, { parameters: place });
  if (external) {
    await writeWhole(`${path}.data`, (file) => writeData(model, places, file));
    await writeWhole(path, (file) => writeBytes(file, encoded));
    return { graph: graph.name, files: [path, `${path}.data`], bytes: encoded.length + end };
  }
  if (end > MAX_STANDALONE_BYTES) {
    const problem = `one file must have at most ${MAX_STANDALONE_BYTES} bytes of weights; got ${end}`;
    throw new ClipGenError('failed_precondition', `${path}: ${problem}; take --external`);
  }
  const whole = await embedded(model, encoded);
  await writeWhole(path, (file) => writeBytes(file, whole));
  return { graph: graph.name, files: [path], bytes: whole.length };
}

interface Place {
  readonly name: string;
  readonly byteOffset: number;
}

async function writeData(model: ModelFolder, places: readonly Place[], file: FileHandle): Promise<void> {
  let end = 0;
  for (const { name, byteOffset } of places) {
    await writeBytes(file, new Uint8Array(byteOffset - end)); // up to the next alignment
    const bytes = await readBytes(model, name);
    await writeBytes(file, bytes);
    end = byteOffset + bytes.length;
  }
}

/** The same model with its weights inside. */
async function embedded(model: ModelFolder, encoded: Uint8Array): Promise<Uint8Array> {
  const proto = ModelProto.decode(encoded);
  for (const tensor of proto.graph?.initializer ?? []) {
    if (tensor.dataLocation !== TensorProto_DataLocation.EXTERNAL) continue;
    tensor.rawData = await readBytes(model, tensor.name.replace(/\.stored$/, ''));
    tensor.externalData = [];
    tensor.dataLocation = TensorProto_DataLocation.DEFAULT;
  }
  return ModelProto.encode(proto).finish();
}

async function readBytes({ weights }: ModelFolder, name: string): Promise<Uint8Array> {
  const { data } = await weights.read(name);
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}
