import { ClipGenError } from '@clip-gen/errors';
import type { Logger } from '@clip-gen/telemetry';

export interface PeerOptions<Info> {
  /** As clients read it: `sampler`, `decoder vqgan`. */
  readonly name: string;
  /** Asks the service what it serves; ends in seconds. */
  readonly probe: () => Promise<Info>;
  /** Told when the peer comes or goes. */
  readonly onChange: () => void;
  readonly logger: Logger;
}

/** A service behind the gateway: what it serves, and whether it was there when it was last asked. */
export class Peer<Info> {
  /** What it serves, as it said last; undefined while it was never there. */
  info: Info | undefined;
  /** Why it cannot be used; undefined while it is there. */
  problem: string | undefined = 'not asked yet';
  #asking: Promise<void> | undefined;
  #forgotten = false;

  constructor(private readonly options: PeerOptions<Info>) {}

  get name(): string {
    return this.options.name;
  }

  /** Asks now; several callers share one question. Never throws. */
  ask(): Promise<void> {
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = undefined;
    });
    return this.#asking;
  }

  async #ask(): Promise<void> {
    const { name, probe, onChange, logger } = this.options;
    const before = this.problem;
    try {
      this.info = await probe();
      this.problem = undefined;
    } catch (error) {
      this.problem = error instanceof ClipGenError ? error.code : 'no answer';
      if (before !== this.problem && !this.#forgotten)
        logger.warn({ peer: name, error: String(error) }, 'peer is away');
    }
    if ((before === undefined) !== (this.problem === undefined) && !this.#forgotten) {
      if (this.problem === undefined) logger.info({ peer: name }, 'peer is there');
      onChange();
    }
  }

  /** The connection is about to be closed: what comes of it is no news. */
  forget(): void {
    this.#forgotten = true;
  }

  /** What it serves; asks first when it was never there. @throws unavailable */
  async known(): Promise<Info> {
    if (this.info === undefined) await this.ask();
    if (this.info !== undefined) return this.info;
    throw new ClipGenError('unavailable', `the ${this.name} service is away; try again in a moment`);
  }
}
