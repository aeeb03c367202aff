import type { Server, ServiceImplementation, TsProtoServiceDefinition } from 'nice-grpc';

/** A service and what implements it, ready for a server. */
export interface Service {
  /** Such as `clipgen.v1.TokenDecoder`. */
  readonly fullName: string;
  /** Registers it, with the server's middleware around it. */
  readonly addTo: (server: Pick<Server, 'add'>) => void;
}

/**
 * Pairs a generated definition with its implementation.
 *
 * A handler gets the decoded request (or an AsyncIterable of requests) and a `CallContext`. Its `signal` aborts when the
 * caller hangs up, its deadline passes or the server is cut off: stop then, by throwing or returning. Streams are async
 * generators: the next `yield` waits until the caller's buffers have room. Throw ClipGenError for what callers should know.
 */
export function serve<Definition extends TsProtoServiceDefinition>(
  definition: Definition,
  implementation: ServiceImplementation<Definition>,
): Service {
  return { fullName: definition.fullName, addTo: (server) => server.add(definition, implementation) };
}
