export { type Algorithm, type Reduction } from './call.ts';
export { type Failure } from './failure.ts';
export { type AllReduceOptions, type Group, type GroupStatistics } from './group.ts';
export { inProcessGroups, type InProcessOptions } from './in-process-groups.ts';
export { joinGroup, type JoinOptions } from './join-group.ts';
export { type WireFormat } from './kernel/kernels.ts';
export { bindToCoreShare } from './native/core-share.ts';
export { type TransportKind } from './thread/messages.ts';
export { type TlsFiles } from './transport/tls-files.ts';
