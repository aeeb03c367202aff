import { ClipGenError } from '@clip-gen/errors';
import { barrier } from '../algorithm/barrier.ts';
import { signatureOf, type Call } from '../call.ts';
import { Exchange, type Arithmetic } from '../algorithm/exchange.ts';
import type { Failure } from '../failure.ts';
import type { WorkMemory } from '../memory/work-memory.ts';
import type { SharedRegions } from '../transport/shared-regions.ts';
import type { Transport } from '../transport/transport.ts';
import { allReduce } from './all-reduce.ts';
import { allGather, broadcastAll, reduceScatter } from './other-collectives.ts';
import type { Piece } from './piece.ts';
import { everybody, type Topology } from './topology.ts';
import type { Work } from './work.ts';

/** Runs a rank's calls one after the other, in the order in which they come. */
export class Engine {
  /** Calls begun and ended so far. */
  begun = 0;
  ended = 0;
  /** The signature of the call begun last. */
  signature: Uint8Array = new Uint8Array(0);
  #last: Promise<void> = Promise.resolve();
  #failure: Error | undefined;

  /** @param report is told when a call breaks down on this rank alone */
  constructor(
    readonly memory: WorkMemory,
    readonly topology: Topology,
    readonly transport: Transport,
    readonly regions: SharedRegions | undefined,
    readonly report: (failure: Failure) => void,
  ) {}

  /** Rejects as soon as the group has failed, with its failure. */
  run(call: Call, pieces: readonly Piece[]): Promise<void> {
    const result = this.#last.then(async () => {
      if (this.#failure) throw this.#failure;
      this.begun++;
      try {
        await this.#perform(call, pieces);
      } catch (error) {
        if (!this.#failure) this.#breakDown(error); // the others would wait for this rank in vain
        throw error;
      }
      this.ended++;
    });
    this.#last = result.catch(() => undefined);
    return result;
  }

  /** Ends the call under way and those that wait. */
  fail(error: Error): void {
    this.#failure ??= error;
    this.transport.fail(error);
    this.regions?.fail(error);
  }

  #breakDown(error: unknown): void {
    const { rank } = this.topology;
    const reason = error instanceof Error ? error.message : String(error);
    this.report({
      code: 'internal',
      rank,
      message: `rank ${rank} has broken down in call ${this.begun - 1}: ${reason}`,
    });
  }

  /** When the calls so far are through, whatever became of them. */
  async idle(): Promise<void> {
    await this.#last;
  }

  async #perform(call: Call, pieces: readonly Piece[]): Promise<void> {
    const { memory, topology, regions, transport } = this;
    if (topology.worldSize === 1) return alone(call, pieces, memory);
    const signature = signatureOf(call);
    this.signature = signature;
    const exchange = (ranks: readonly number[]): Exchange =>
      new Exchange(memory, transport, signature, ranks, topology.rank);
    const arithmetic: Arithmetic = {
      combine: call.reduction === 'max' ? 'max' : 'add',
      format: call.wire,
      factor: call.reduction === 'mean' ? 1 / topology.worldSize : 1,
    };
    const work: Work = { call, signature, memory, topology, regions, arithmetic, pieces, exchange };
    switch (call.collective) {
      case 'all-reduce':
        return allReduce(work);
      case 'reduce-scatter':
        return reduceScatter(work);
      case 'all-gather':
        return allGather(work);
      case 'broadcast':
        return broadcastAll(work);
      case 'barrier': {
        const all = exchange(everybody(topology));
        return all.run(barrier(all));
      }
    }
  }
}

/** One rank has nobody to talk to: reduce-scatter and all-gather copy, the rest is done. */
function alone({ collective }: Call, [input, output]: readonly Piece[], memory: WorkMemory): void {
  if (collective !== 'reduce-scatter' && collective !== 'all-gather') return;
  if (!input || !output) throw new ClipGenError('internal', `${collective} without a tensor`);
  const most = memory.sizes.stageBytes / 4;
  for (let start = 0; start < input.count; start += most) {
    const count = Math.min(most, input.count - start);
    input.read(start, count, memory.stage(0));
    output.write(start, count, memory.stage(0));
  }
}
