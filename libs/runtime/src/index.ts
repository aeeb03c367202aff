export { chosenBackend, createSession } from './create-session.ts';
export { nativeChannelBlock } from './native-channel-block.ts';
export { type RunOptions, type Session, type SessionOptions, type TensorInfo } from './session.ts';
