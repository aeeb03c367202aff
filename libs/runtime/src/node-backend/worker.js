// Hosts the public binding, which computes on the thread that calls it. Plain JavaScript: a worker thread starts from a file
// that Node reads itself. Requests: { id, kind, ... }; answers: { id, value } or { id, error: { message, unavailable } }.
import { parentPort, workerData } from 'node:worker_threads';
import { InferenceSession, Tensor } from 'onnxruntime-node';

const VIEWS = {
  float32: Float32Array,
  float16: globalThis.Float16Array ?? Uint16Array,
  float64: Float64Array,
  int8: Int8Array,
  uint8: Uint8Array,
  int32: Int32Array,
  int64: BigInt64Array,
  bool: Uint8Array,
};

/** @type {InferenceSession | undefined} */
let session;

async function create({ model, provider, options }) {
  const bytes = new Uint8Array(model);
  try {
    session = await InferenceSession.create(bytes, { ...options, executionProviders: [provider] });
  } catch (error) {
    if (provider === 'cpu') throw error;
    // Is it the model or the provider? A model that the CPU takes is sound.
    await (await InferenceSession.create(bytes, { ...options, executionProviders: ['cpu'] })).release();
    throw Object.assign(new TypeError(`provider ${provider} does not start: ${error.message}`), { unavailable: true });
  }
  return { value: { inputs: session.inputMetadata, outputs: session.outputMetadata } };
}

async function run({ feeds, fetch }) {
  const tensors = feeds.map(({ name, dtype, shape, buffer }) => [
    name,
    new Tensor(dtype, new VIEWS[dtype](buffer), shape),
  ]);
  const results = await session.run(Object.fromEntries(tensors), fetch);
  const outputs = fetch.map((name) => {
    const { type, dims, data } = results[name];
    // The binding may hand out a part of a larger buffer; only a whole one can be given away.
    const whole = data.byteLength === data.buffer.byteLength;
    const buffer = whole ? data.buffer : data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength);
    return { name, dtype: type, shape: [...dims], buffer };
  });
  const staging = feeds.map(({ buffer }) => buffer);
  return { value: { outputs, staging }, transfer: [...staging, ...outputs.map(({ buffer }) => buffer)] };
}

async function close() {
  await session?.release();
  session = undefined;
  return { value: undefined };
}

const KINDS = { create, run, close };

parentPort.on('message', async ({ id, kind, ...request }) => {
  try {
    const { value, transfer } = await KINDS[kind](request);
    parentPort.postMessage({ id, value }, transfer ?? []);
  } catch (error) {
    const { message, unavailable } = error;
    parentPort.postMessage({ id, error: { message: String(message), unavailable: unavailable === true } });
  }
  // Tells a process that is about to end that no native call is under way here.
  Atomics.sub(workerData.pending, 0, 1);
  Atomics.notify(workerData.pending, 0);
});
