import { encodeModel, type GraphBuilder, type ModelOptions } from '@clip-gen/graph';
import { createSession, type SessionOptions } from '@clip-gen/runtime';
import type { Tensor } from '@clip-gen/tensor';

/** How a graph is encoded and loaded. */
export interface RunGraphOptions {
  /** Where the parameters lie; default: they are fed, as inputs. */
  readonly parameters?: ModelOptions['parameters'];
  readonly session?: SessionOptions;
}

/**
 * Encodes a graph, runs it once on ONNX Runtime and frees it. The results are the caller's.
 *
 * @param feeds a tensor for each input and each parameter that the outputs need, by name; the caller keeps them
 * @returns every output by name
 * @throws what `encodeModel`, `createSession` and `Session.run` throw
 */
export async function runGraph(
  graph: GraphBuilder,
  feeds: Readonly<Record<string, Tensor>>,
  options: RunGraphOptions = {},
): Promise<Record<string, Tensor>> {
  const { parameters = 'input', session: sessionOptions = { threads: 1 } } = options;
  const session = await createSession(encodeModel(graph, { parameters }), sessionOptions);
  try {
    return await session.run(feeds);
  } finally {
    await session.close();
  }
}
