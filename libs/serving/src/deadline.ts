import { ServerInterceptingCall, ServerListenerBuilder, type ServerInterceptor } from '@grpc/grpc-js';

/** Metadata in which a server passes a call's deadline on to its own layers: milliseconds since 1970. Never on the wire. */
export const DEADLINE_KEY = 'clip-gen-internal-deadline';

/** gRPC takes `grpc-timeout` out of the metadata; this puts the deadline back where handlers can see it. */
export const deadlineInterceptor: ServerInterceptor = (_method, call) =>
  new ServerInterceptingCall(call, {
    start(next) {
      next(
        new ServerListenerBuilder()
          .withOnReceiveMetadata((metadata, mdNext) => {
            metadata.remove(DEADLINE_KEY); // not a stranger's to set
            const deadline = Number(call.getDeadline());
            if (Number.isFinite(deadline)) metadata.set(DEADLINE_KEY, String(deadline));
            mdNext(metadata);
          })
          .build(),
      );
    },
  });
