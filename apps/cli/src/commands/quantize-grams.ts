import { createPartSession, type CallOptions, type EngineOptions, type GptPart } from '@clip-gen/generation';
import { predictTokens } from '@clip-gen/gpt';
import { gemm, GraphBuilder, linearWeights, type Value } from '@clip-gen/graph';
import { Scope } from '@clip-gen/nn';
import { exampleFeeds, type Example } from './quantize-examples.ts';

/** Bytes of the sums that are made together: more cost memory, fewer cost runs. */
const MAX_GROUP_BYTES = 2 ** 28;

/**
 * Σ xᵀx of what each matrix of a transformer is multiplied with, over examples: by running it on them with these sums as
 * outputs, for as many matrices at once as memory allows.
 */
export class ActivationGrams {
  readonly #groups: readonly (readonly string[])[];
  #sums = new Map<string, Float32Array>();

  constructor(
    private readonly part: GptPart,
    private readonly examples: readonly Example[],
    private readonly engine: EngineOptions,
    private readonly options: CallOptions,
  ) {
    const { graph } = this.#build();
    const groups: string[][] = [];
    let room = 0;
    for (const name of linearWeights(graph).sort()) {
      const { value } = graph.parameters.find((parameter) => parameter.name === name)!;
      const bytes = 4 * (value.shape[1] as number) ** 2;
      if (bytes > room || groups.length === 0) {
        groups.push([]);
        room = MAX_GROUP_BYTES;
      }
      groups.at(-1)!.push(name);
      room -= bytes;
    }
    this.#groups = groups;
  }

  /** Float32 (K, K) for a matrix (N, K), the caller's. Cheap by rising name; another order computes groups again. */
  async of(name: string): Promise<Float32Array> {
    if (!this.#sums.has(name)) this.#sums = await this.#sum(this.#groups.find((group) => group.includes(name))!);
    return this.#sums.get(name)!;
  }

  async #sum(names: readonly string[]): Promise<Map<string, Float32Array>> {
    const { graph, inputs } = this.#build();
    for (const name of names) {
      const x = inputs.get(name)!;
      graph.output(`gram.${name}`, gemm(x, x, null, { transA: true }));
    }
    const session = await createPartSession(this.part, graph, this.engine);
    const sums = new Map<string, Float32Array>();
    try {
      for (const example of this.examples) {
        const grams = await session.run(exampleFeeds(example), this.options);
        for (const name of names) {
          const gram = grams[`gram.${name}`]!.data as Float32Array;
          const sum = sums.get(name);
          if (!sum) sums.set(name, gram);
          else for (let i = 0; i < sum.length; i++) sum[i]! += gram[i]!;
        }
      }
    } finally {
      await session.close();
    }
    return sums;
  }

  /** The transformer, and the left operand of the product with each matrix. */
  #build(): { readonly graph: GraphBuilder; readonly inputs: ReadonlyMap<string, Value> } {
    const { config } = this.part;
    const graph = new GraphBuilder('gpt-activations');
    const condition = graph.input('condition', 'float32', [1, config.conditionSize]);
    const previous = graph.input('previous', 'int64', [1, config.tokens - 1]);
    predictTokens(new Scope(graph), config, condition, previous);
    const inputs = new Map<string, Value>();
    for (const { op, inputs: read } of graph.nodes) if (op === 'Gemm') inputs.set(read[1]!.name, read[0]!);
    return { graph, inputs };
  }
}
