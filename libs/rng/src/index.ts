export { philox4x32 } from './philox.ts';
export { RandomStream } from './random-stream.ts';
