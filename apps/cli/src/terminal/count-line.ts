/** One line on a terminal that counts; nothing elsewhere. */
export interface CountLine {
  readonly update: (stage: string, done: number, total: number) => void;
  /** Removes the line. */
  readonly stop: () => void;
}

/** A counting line on stderr. */
export function startCountLine(stream: NodeJS.WriteStream = process.stderr): CountLine {
  if (!stream.isTTY) return { update: () => undefined, stop: () => undefined };
  let shown = false;
  return {
    update: (stage, done, total) => {
      stream.write(`\r\x1b[K${stage}: ${done} of ${total}`);
      shown = true;
    },
    stop: () => {
      if (shown) stream.write('\r\x1b[K');
      shown = false;
    },
  };
}
