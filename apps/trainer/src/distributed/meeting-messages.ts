import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Socket } from 'node:net';
import { z } from 'zod';

// What a process and the meeting point at rank 0 say to each other: one JSON a line. The point sends a nonce; the process
// says who it is, with a nonce of its own; when a group is formed it is invited. Both prove that they know the token.

const nonce = z.string().regex(/^[0-9a-f]{64}$/);
const rank = z.int().min(0).max(1023);
const epoch = z
  .int()
  .min(0)
  .max(2 ** 32 - 2);

const arrivalSchema = z.strictObject({
  rank,
  worldSize: z.int().min(2).max(1024),
  /** The last group that it was in; 0 before. */
  epoch,
  /** Whether it has just been started: what the others know since their start, it does not. */
  isNew: z.boolean(),
  nonce,
});
/** Who has come. */
export type Arrival = z.infer<typeof arrivalSchema>;

const invitationSchema = z.strictObject({
  epoch: epoch.min(1),
  /** Who is in, ascending. */
  members: z.array(rank).min(1).max(1024),
  /** Where the group's store listens, at rank 0. */
  port: z.int().min(1).max(65_535),
  /** Whether one of them is new. */
  introduces: z.boolean(),
});
/** What the group is that is formed now. */
export type Invitation = z.infer<typeof invitationSchema>;

const proof = z.string().regex(/^[0-9a-f]{64}$/);
const fromPoint = z.union([
  z.strictObject({ nonce }),
  z.strictObject({ invitation: invitationSchema, proof }),
  z.strictObject({ over: z.literal(true), proof }),
  z.strictObject({ refused: z.string().max(400) }),
]);
const fromProcess = z.strictObject({ arrival: arrivalSchema, proof });

/** What the meeting point says. */
export type PointMessage = z.infer<typeof fromPoint>;
/** What a process says. */
export type ProcessMessage = z.infer<typeof fromProcess>;

const MOST_BYTES = 16_384;

export function newNonce(): string {
  return randomBytes(32).toString('hex');
}

/** That whoever says `content` knows the token, now. @param theirs the other side's nonce */
export function prove(token: string, theirs: string, content: unknown): string {
  return createHmac('sha256', token)
    .update(`${theirs} ${JSON.stringify(content)}`)
    .digest('hex');
}

/** Whether a proof is right, in constant time. */
export function isProven(given: string, token: string, own: string, content: unknown): boolean {
  return timingSafeEqual(Buffer.from(given, 'hex'), Buffer.from(prove(token, own, content), 'hex'));
}

/** Sends one message. */
export function say(socket: Socket, message: PointMessage | ProcessMessage): void {
  if (socket.writable) socket.write(`${JSON.stringify(message)}\n`);
}

/** Tells each message of the point; the connection of whoever says anything else is cut. */
export function hearPoint(socket: Socket, told: (message: PointMessage) => void): void {
  hear(socket, fromPoint, told);
}

/** The same, of a process. */
export function hearProcess(socket: Socket, told: (message: ProcessMessage) => void): void {
  hear(socket, fromProcess, told);
}

function hear<S extends z.ZodType>(socket: Socket, schema: S, told: (message: z.output<S>) => void): void {
  let text = '';
  socket.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
      const message = parse(schema, text.slice(0, end));
      text = text.slice(end + 1);
      if (message === undefined) return void socket.destroy();
      told(message);
    }
    if (text.length > MOST_BYTES) socket.destroy();
  });
}

function parse<S extends z.ZodType>(schema: S, line: string): z.output<S> | undefined {
  try {
    return schema.safeParse(JSON.parse(line)).data;
  } catch {
    return undefined;
  }
}
