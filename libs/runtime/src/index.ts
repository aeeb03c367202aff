export { createSession } from './create-session.ts';
export { type RunOptions, type Session, type SessionOptions, type TensorInfo } from './session.ts';
