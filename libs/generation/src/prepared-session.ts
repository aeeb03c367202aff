import { encodePrepared, type GraphBuilder } from '@clip-gen/graph';
import { chosenBackend, createSession, type RunOptions, type Session } from '@clip-gen/runtime';
import type { Tensor } from '@clip-gen/tensor';
import {
  createPartSession,
  weightLocation,
  type EngineOptions,
  type ModelPart,
  type PartSessionOptions,
} from './model-part.ts';

/** Preparations at once: laying out is work for one thread. */
const LANES = 2;

/**
 * As `createPartSession`, for a graph that brings weights into other forms: these are computed once, a few at a time,
 * into memory of this process, which they are read from in every run. Nothing else of them stays. The backend `node` would
 * copy them in every run: there it is `createPartSession`, and ONNX Runtime folds them when it loads the model.
 */
export async function createPreparedSession(
  part: ModelPart<unknown>,
  graph: GraphBuilder,
  engine: EngineOptions,
  options: PartSessionOptions = {},
): Promise<Session> {
  if ((await chosenBackend(engine.backend)) === 'node') return createPartSession(part, graph, engine, options);
  const externalDataFolder = part.folder;
  const { preparations, model } = encodePrepared(graph, { parameters: (name) => weightLocation(part, name) });
  const forms: Record<string, Tensor> = {};
  const waiting = [...preparations];
  const lane = async (): Promise<void> => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const once = { threads: 1, optimization: 'none', memoryPattern: false, externalDataFolder } as const;
      const session = await createSession(next.model, { ...engine, ...once });
      try {
        Object.assign(forms, await session.run({}));
      } finally {
        await session.close();
      }
    }
  };
  const rest = createSession(model, { ...engine, ...options, externalDataFolder });
  const works = [rest, ...Array.from({ length: LANES }, lane)];
  try {
    await Promise.all(works);
  } catch (error) {
    waiting.length = 0;
    await Promise.allSettled(works);
    await rest.then(
      (session) => session.close(),
      () => undefined,
    );
    throw error;
  }
  return new PreparedSession(await rest, forms);
}

/** A session some of whose inputs are the same in every run. */
class PreparedSession implements Session {
  constructor(
    private readonly session: Session,
    private readonly forms: Readonly<Record<string, Tensor>>,
  ) {}

  get backend() {
    return this.session.backend;
  }

  get inputs() {
    return this.session.inputs.filter(({ name }) => !(name in this.forms));
  }

  get outputs() {
    return this.session.outputs;
  }

  run(feeds: Readonly<Record<string, Tensor>>, options: RunOptions = {}): Promise<Record<string, Tensor>> {
    return this.session.run({ ...feeds, ...this.forms }, options);
  }

  close(): Promise<void> {
    return this.session.close();
  }
}
