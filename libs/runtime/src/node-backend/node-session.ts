import { ClipGenError } from '@clip-gen/errors';
import type { Tensor } from '@clip-gen/tensor';
import { tensor } from '@clip-gen/tensor';
import { cancelled, CallQueue } from '../call-queue.ts';
import { dtypeOfName, type RuntimeDType } from '../element-type.ts';
import type { ResolvedOptions } from '../options.ts';
import type { RunOptions, Session, TensorInfo } from '../session.ts';
import {
  checkFeedNames,
  checkFetch,
  checkTensor,
  missingInput,
  nameSizes,
  shapeText,
  type NamedSizes,
} from '../signature.ts';
import { BindingWorker, type BindingMetadata, type Parcel } from './binding-worker.ts';
import { copyInSlices } from './sliced-copy.ts';

/** A session over the public binding in a worker thread. `model` is copied. */
export async function createNodeSession(model: Uint8Array, options: ResolvedOptions): Promise<Session> {
  const worker = new BindingWorker();
  try {
    const copy = new Uint8Array(model.byteLength);
    await copyInSlices(model, copy);
    const { inputs, outputs } = await worker.call(
      'create',
      { model: copy.buffer, provider: options.provider, options: bindingOptions(options) },
      [copy.buffer],
    );
    return new NodeSession(
      worker,
      inputs.map((metadata) => tensorInfo('input', metadata)),
      outputs.map((metadata) => tensorInfo('output', metadata)),
    );
  } catch (error) {
    await worker.terminate();
    throw error;
  }
}

function bindingOptions(options: ResolvedOptions): object {
  const { threads, optimization, profilePrefix, memoryPattern } = options;
  return {
    intraOpNumThreads: threads,
    enableMemPattern: memoryPattern,
    graphOptimizationLevel: optimization === 'none' ? 'disabled' : optimization,
    logSeverityLevel: 3,
    extra: options.configEntries,
    ...(profilePrefix === undefined ? {} : { enableProfiling: true, profileFilePrefix: profilePrefix }),
  };
}

function tensorInfo(role: 'input' | 'output', { name, isTensor, type = '', shape = [] }: BindingMetadata): TensorInfo {
  const what = `${role} "${name}"`;
  if (!isTensor) throw new ClipGenError('unimplemented', `${what} must be a tensor; it is of another ONNX type`);
  return { name, dtype: dtypeOfName(type, what), shape };
}

class NodeSession implements Session {
  readonly backend = 'node';
  // The thread computes one run at a time: the next one waits here, where it can still be cancelled.
  readonly #calls = new CallQueue(1);
  readonly #running = new Set<Promise<unknown>>();
  readonly #knownInputs: ReadonlySet<string>;
  readonly #knownOutputs: ReadonlySet<string>;
  /** Buffers that carried each input last, for the next run. */
  readonly #staging = new Map<string, ArrayBuffer>();
  #closing: Promise<void> | undefined;

  constructor(
    readonly worker: BindingWorker,
    readonly inputs: readonly TensorInfo[],
    readonly outputs: readonly TensorInfo[],
  ) {
    this.#knownInputs = new Set(inputs.map(({ name }) => name));
    this.#knownOutputs = new Set(outputs.map(({ name }) => name));
  }

  async run(feeds: Readonly<Record<string, Tensor>>, options: RunOptions = {}): Promise<Record<string, Tensor>> {
    const { signal, into = {} } = options;
    if (this.#closing) throw new ClipGenError('failed_precondition', 'the session is closed; make a new one');
    if (signal?.aborted) throw cancelled(signal);
    const tensors = this.#check(feeds, into);
    const chosen = checkFetch(this.#knownOutputs, options.fetch, into);
    const fetch = this.outputs.map(({ name }) => name).filter((name) => chosen.has(name));
    const running = this.#calls.run(() => this.#call(tensors, { ...into }, fetch, signal), signal);
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await Promise.allSettled(this.#running);
    // A thread that has died has nothing left to free.
    await this.worker.call('close', {}).catch(() => undefined);
    await this.worker.terminate();
  }

  #check(feeds: Readonly<Record<string, Tensor>>, into: Readonly<Record<string, Tensor>>): Tensor[] {
    const sizes: NamedSizes = new Map();
    const tensors = this.inputs.map((info) => {
      const feed = feeds[info.name];
      if (feed === undefined) throw missingInput(info);
      checkTensor('input', info, feed);
      nameSizes('input', info, feed.shape, sizes);
      return feed;
    });
    checkFeedNames(this.#knownInputs, feeds);
    for (const info of this.outputs) {
      const target = into[info.name];
      if (target === undefined) continue;
      checkTensor('output', info, target);
      nameSizes('output', info, target.shape, sizes);
    }
    return tensors;
  }

  async #call(
    tensors: readonly Tensor[],
    into: Readonly<Record<string, Tensor>>,
    fetch: readonly string[],
    signal: AbortSignal | undefined,
  ): Promise<Record<string, Tensor>> {
    const feeds: Parcel[] = [];
    for (const [i, { name }] of this.inputs.entries()) feeds.push(await this.#pack(name, tensors[i] as Tensor));
    const transfer = feeds.map(({ buffer }) => buffer);
    const { outputs, staging } = await this.worker.call('run', { feeds, fetch }, transfer);
    for (const [i, buffer] of staging.entries()) this.#staging.set(this.inputs[i]?.name ?? '', buffer);
    if (signal?.aborted) throw cancelled(signal);
    const results: Record<string, Tensor> = {};
    for (const parcel of outputs) results[parcel.name] = await unpack(parcel, into[parcel.name]);
    return results;
  }

  async #pack(name: string, { dtype, shape, data }: Tensor): Promise<Parcel> {
    const spare = this.#staging.get(name);
    this.#staging.delete(name);
    const buffer = spare?.byteLength === data.byteLength ? spare : new ArrayBuffer(data.byteLength);
    await copyInSlices(bytesOf(data), new Uint8Array(buffer));
    return { name, dtype, shape: [...shape], buffer };
  }
}

const VIEWS = {
  float32: Float32Array,
  float16: Uint16Array,
  float64: Float64Array,
  int8: Int8Array,
  uint8: Uint8Array,
  int32: Int32Array,
  int64: BigInt64Array,
  bool: Uint8Array,
} as const satisfies Record<RuntimeDType, unknown>;

async function unpack(parcel: Parcel, into: Tensor | undefined): Promise<Tensor> {
  const dtype = dtypeOfName(parcel.dtype, `output "${parcel.name}"`);
  const whole = tensor(dtype, parcel.shape, new VIEWS[dtype](parcel.buffer));
  if (into === undefined) return whole;
  if (shapeText(into.shape) !== shapeText(parcel.shape)) {
    throw new ClipGenError(
      'internal',
      `output "${parcel.name}" came out as ${shapeText(parcel.shape)}; into has ${shapeText(into.shape)}`,
    );
  }
  await copyInSlices(new Uint8Array(parcel.buffer), bytesOf(into.data));
  return into;
}

function bytesOf({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
