import { ClipGenError } from '@clip-gen/errors';
import type { Tensor } from '@clip-gen/tensor';
import { emptyTensor } from '@clip-gen/tensor';
import koffi from 'koffi';
import { cancelled, CallQueue } from '../call-queue.ts';
import type { ResolvedOptions } from '../options.ts';
import type { RunOptions, Session, TensorInfo } from '../session.ts';
import { checkFeedNames, checkFetch, knownShape, missingInput, nameSizes, type NamedSizes } from '../signature.ts';
import type { Pointer } from './function-table.ts';
import { inspectInputs, inspectOutputs, readShape } from './inspect.ts';
import { callAsync, loadLibrary, type OrtLibrary } from './library.ts';
import { NameTable } from './name-table.ts';
import { RunFrame } from './run-frame.ts';
import { createSessionOptions } from './session-options.ts';
import { Slot } from './slot.ts';
import { cell, check } from './status.ts';

// libuv's pool has four threads; one is left to files and DNS.
const calls = new CallQueue(3);
// What native code reads right now; nothing else may keep it from the garbage collector.
const loading = new Set<Uint8Array>();
const inFlight = new Set<RunFrame>();
let watchesExit = false;

/** A session over the C API. `model` is read on another thread until the promise settles and not kept. */
export async function createCApiSession(model: Uint8Array, options: ResolvedOptions): Promise<Session> {
  const library = await loadLibrary();
  const { api, env } = library;
  const nativeOptions = await createSessionOptions(library, options);
  let session: Pointer = null;
  try {
    loading.add(model);
    void model.buffer; // see Slot: its bytes stay where they are from now on
    const out = new BigUint64Array(1);
    const status = await calls.run(() =>
      callAsync(
        api.createSessionFromArray,
        env,
        koffi.address(model),
        model.byteLength,
        nativeOptions,
        koffi.address(out.buffer),
      ),
    );
    check(api, status);
    session = out[0] ?? null;
    watchExit();
    return new CApiSession(library, session);
  } catch (error) {
    if (session !== null) api.releaseSession(session);
    throw error;
  } finally {
    loading.delete(model);
    api.releaseSessionOptions(nativeOptions);
  }
}

class CApiSession implements Session {
  readonly backend = 'c-api';
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
  readonly #inputNames: NameTable;
  /** Keeps the names that the output slots point at. */
  readonly #outputNames: NameTable;
  readonly #inputSlots: readonly Slot[];
  readonly #outputSlots: readonly Slot[];
  readonly #knownInputs: ReadonlySet<string>;
  readonly #knownOutputs: ReadonlySet<string>;
  readonly #idle: RunFrame[] = [];
  readonly #running = new Set<Promise<unknown>>();
  #closing: Promise<void> | undefined;

  constructor(
    readonly library: OrtLibrary,
    readonly native: Pointer,
  ) {
    this.inputs = inspectInputs(library, native);
    this.outputs = inspectOutputs(library, native);
    this.#inputNames = new NameTable(this.inputs.map(({ name }) => name));
    this.#outputNames = new NameTable(this.outputs.map(({ name }) => name));
    this.#inputSlots = this.inputs.map(
      (info, i) => new Slot('input', info, this.#inputNames.pointers[i] ?? 0n, library),
    );
    this.#outputSlots = this.outputs.map(
      (info, i) => new Slot('output', info, this.#outputNames.pointers[i] ?? 0n, library),
    );
    this.#knownInputs = new Set(this.inputs.map(({ name }) => name));
    this.#knownOutputs = new Set(this.outputs.map(({ name }) => name));
  }

  async run(feeds: Readonly<Record<string, Tensor>>, options: RunOptions = {}): Promise<Record<string, Tensor>> {
    if (this.#closing) throw new ClipGenError('failed_precondition', 'the session is closed; make a new one');
    if (options.signal?.aborted) throw cancelled(options.signal);
    const running = this.#run(feeds, options);
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
    for (const frame of this.#idle) frame.close();
    for (const slot of [...this.#inputSlots, ...this.#outputSlots]) slot.close();
    await calls.run(() => callAsync(this.library.api.releaseSession, this.native));
  }

  async #run(feeds: Readonly<Record<string, Tensor>>, options: RunOptions): Promise<Record<string, Tensor>> {
    const { signal } = options;
    const frame = this.#idle.pop() ?? new RunFrame(this.library.api, this.inputs.length, this.outputs.length);
    const abort = (): void => frame.terminate();
    try {
      const fetched = this.#bind(frame, feeds, options);
      signal?.addEventListener('abort', abort, { once: true });
      return await calls.run(async () => {
        await this.#call(frame, fetched.length);
        if (signal?.aborted) throw cancelled(signal);
        const results: Record<string, Tensor> = {};
        for (let i = 0; i < fetched.length; i++) {
          const { slot, tensor } = fetched[i] as Fetched;
          results[slot.info.name] = tensor ?? this.#takeOutput(frame, slot, i);
        }
        return results;
      }, signal);
    } catch (error) {
      throw signal?.aborted ? cancelled(signal) : error;
    } finally {
      signal?.removeEventListener('abort', abort);
      frame.reset();
      this.#idle.push(frame);
    }
  }

  /** Fills the frame; an output whose size only the run can tell has no tensor yet. */
  #bind(frame: RunFrame, feeds: Readonly<Record<string, Tensor>>, { into = {}, fetch }: RunOptions): Fetched[] {
    const sizes: NamedSizes = new Map();
    for (let i = 0; i < this.#inputSlots.length; i++) {
      const slot = this.#inputSlots[i] as Slot;
      const tensor = feeds[slot.info.name];
      if (tensor === undefined) throw missingInput(slot.info);
      frame.setInput(i, slot, slot.acquire(tensor));
      if (slot.hasNamedSizes) nameSizes('input', slot.info, tensor.shape, sizes);
    }
    checkFeedNames(this.#knownInputs, feeds);
    const chosen = checkFetch(this.#knownOutputs, fetch, into);
    const fetched: Fetched[] = [];
    for (const slot of this.#outputSlots) {
      if (!chosen.has(slot.info.name)) continue;
      fetched.push({ slot, tensor: this.#bindOutput(frame, fetched.length, slot, into[slot.info.name], sizes) });
    }
    return fetched;
  }

  #bindOutput(
    frame: RunFrame,
    i: number,
    slot: Slot,
    given: Tensor | undefined,
    sizes: NamedSizes,
  ): Tensor | undefined {
    if (given) {
      frame.setOutput(i, slot, slot.acquire(given));
      if (slot.hasNamedSizes) nameSizes('output', slot.info, given.shape, sizes);
      return given;
    }
    const shape = knownShape(slot.info, sizes);
    if (!shape) {
      frame.leaveOutput(i, slot);
      return undefined;
    }
    const fresh = emptyTensor(slot.info.dtype, shape);
    frame.setOutput(i, slot, slot.acquireOnce(fresh));
    return fresh;
  }

  async #call(frame: RunFrame, outputCount: number): Promise<void> {
    const { api } = this.library;
    inFlight.add(frame);
    try {
      const status = await callAsync(
        api.run,
        this.native,
        frame.runOptions,
        this.#inputNames.address,
        frame.inputsAddress,
        this.inputs.length,
        frame.outputNamesAddress,
        outputCount,
        frame.outputsAddress,
      );
      check(api, status);
    } finally {
      inFlight.delete(frame);
    }
  }

  /** Copies what ONNX Runtime has allocated; `RunFrame.reset` frees it. */
  #takeOutput(frame: RunFrame, { info }: Slot, i: number): Tensor {
    const { api } = this.library;
    const value = frame.outputs[i] ?? 0n;
    check(api, api.getTensorTypeAndShape(value, cell.address));
    const typeAndShape = cell.pointer();
    try {
      const { sizes } = readShape(api, `output "${info.name}"`, typeAndShape);
      const result = emptyTensor(info.dtype, sizes);
      const bytes = result.data.byteLength;
      if (bytes === 0) return result;
      check(api, api.getTensorMutableData(value, cell.address));
      new Uint8Array(result.data.buffer).set(new Uint8Array(koffi.view(cell.pointer(), bytes)));
      return result;
    } finally {
      api.releaseTensorTypeAndShapeInfo(typeAndShape);
    }
  }
}

interface Fetched {
  readonly slot: Slot;
  readonly tensor: Tensor | undefined;
}

/** Node waits for its pool's threads before it ends: let runs that nobody will read stop early. */
function watchExit(): void {
  if (watchesExit) return;
  watchesExit = true;
  process.once('exit', () => {
    for (const frame of inFlight) frame.terminate();
  });
}
