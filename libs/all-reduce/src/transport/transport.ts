/** A message between two ranks: bytes of one call. */
export interface Frame {
  /** The call's signature; both ends must have the same one. */
  readonly signature: Uint8Array;
  /**
   * What is sent, or where the received bytes go: exactly as many. Owned by the caller again when the promise resolves.
   */
  readonly bytes: Uint8Array;
}

/**
 * Moves frames between ranks. Frames of one (from, to, channel) arrive in the order in which they were sent; channels
 * are independent of each other. Nothing here rejects on its own: trouble is reported to the group, which decides who is
 * to blame and calls `fail`.
 */
export interface Transport {
  /** Resolves when `frame.bytes` may be changed again, which may be before the other side has them. */
  send(to: number, channel: number, frame: Frame): Promise<void>;
  /** Resolves when `frame.bytes` is filled. */
  receive(from: number, channel: number, frame: Frame): Promise<void>;
  /** Payload and headers sent so far. */
  readonly bytesSent: number;
  /** Rejects everything pending and everything later. */
  fail(error: Error): void;
  /** Frees sockets. Pending frames are rejected. */
  close(): Promise<void>;
}

/** Independent lanes between two ranks: two trees, upwards and downwards each. */
export const CHANNELS = 4;
