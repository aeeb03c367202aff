import { ClipGenError } from '@clip-gen/errors';
import type { CallContext } from 'nice-grpc';
import { EventEmitter, on } from 'node:events';
import {
  HealthCheckResponse_ServingStatus as ServingStatus,
  HealthDefinition,
  type HealthServiceImplementation,
} from './generated/grpc/health/v1/health.ts';
import { serve, type Service } from './serve.ts';

/** `grpc.health.v1` of a server: one state for all its services, which are ready together or not at all. */
export class Health {
  readonly service: Service;
  private readonly changes = new EventEmitter();
  private readonly ended = new AbortController();
  private state = false;

  /** @param names full names of the services; the empty name stands for the server as a whole */
  constructor(names: readonly string[]) {
    this.changes.setMaxListeners(0); // one for each watcher
    const known = new Set(['', ...names]);
    const status = (name: string): ServingStatus =>
      !known.has(name) ? ServingStatus.SERVICE_UNKNOWN : this.state ? ServingStatus.SERVING : ServingStatus.NOT_SERVING;
    const implementation: HealthServiceImplementation = {
      check: ({ service }) => {
        if (!known.has(service)) throw new ClipGenError('not_found', `service "${service}" is not served here`);
        return Promise.resolve({ status: status(service) });
      },
      list: () =>
        Promise.resolve({ statuses: Object.fromEntries([...known].map((name) => [name, { status: status(name) }])) }),
      watch: ({ service }, context) => this.watch(() => status(service), context),
    };
    this.service = serve(HealthDefinition, implementation);
  }

  get serving(): boolean {
    return this.state;
  }

  set serving(state: boolean) {
    if (this.state === state) return;
    this.state = state;
    this.changes.emit('change');
  }

  /** Watchers get what they have not seen yet, then their streams end, which would else outlive every drain. */
  end(): void {
    this.ended.abort();
  }

  private async *watch(status: () => ServingStatus, { signal }: CallContext) {
    const changes = on(this.changes, 'change', { signal: AbortSignal.any([signal, this.ended.signal]) });
    let last: ServingStatus | undefined;
    try {
      for (;;) {
        // Read, not queued: a slow watcher gets the state as it is when it looks.
        if (status() !== last) yield { status: (last = status()) };
        else await changes.next();
      }
    } catch (error) {
      if (!this.ended.signal.aborted || signal.aborted) throw error;
      if (status() !== last) yield { status: status() };
    }
  }
}
