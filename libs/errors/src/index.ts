export { ClipGenError, invalidArgument, type ErrorCode } from './clip-gen-error.ts';
