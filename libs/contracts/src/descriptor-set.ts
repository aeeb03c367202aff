import { DESCRIPTOR_SET as BASE64 } from './generated/descriptor-set.ts';

/**
 * The serialized `google.protobuf.FileDescriptorSet` of every file in `proto/`, without comments: what servers answer
 * reflection from. Shared; not to be written to.
 */
export const DESCRIPTOR_SET: Uint8Array = Buffer.from(BASE64, 'base64');
