/** A message between two ranks: bytes of one call. */
export interface Frame {
  /** The call's signature; both ends must have the same one. */
  readonly signature: Uint8Array;
  /** What is sent, or where the received bytes go: exactly as many. */
  readonly bytes: Uint8Array;
  /**
   * Called once, when `bytes` are the owner's again, who may begin with the next frame at once: when they are sent, which
   * may be before the other side has them; when they are received; or, with an error, when the transport has failed. It
   * must not throw.
   */
  readonly done: (error?: Error) => void;
}

/**
 * Moves frames between ranks. Frames of one (from, to, channel) arrive in the order in which they were sent; channels
 * are independent of each other. Nothing here fails on its own: trouble is reported to the group, which decides who is
 * to blame and calls `fail`.
 */
export interface Transport {
  /** `frame.done` may be called before this returns. */
  send(to: number, channel: number, frame: Frame): void;
  /** `frame.done` may be called before this returns. */
  receive(from: number, channel: number, frame: Frame): void;
  /** Payload and headers sent so far. */
  readonly bytesSent: number;
  /** Ends everything pending and everything later. */
  fail(error: Error): void;
  /** Frees sockets. Pending frames end with an error. */
  close(): Promise<void>;
}

/** Independent lanes between two ranks: two trees, upwards and downwards each. */
export const CHANNELS = 4;
