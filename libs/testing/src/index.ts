export { expectClose, type Tolerance } from './expect-close.ts';
export { expectTensor } from './expect-tensor.ts';
export { Goldens, loadGoldens } from './goldens.ts';
export { maxRelativeToLargest } from './max-relative-to-largest.ts';
export { grpcFrame, rawGrpcCall, type RawGrpcAnswer } from './raw-grpc-call.ts';
export { runGraph, type RunGraphOptions } from './run-graph.ts';
export { temporaryFolder } from './temporary-folder.ts';
