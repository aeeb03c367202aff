import { ClipGenError } from '@clip-gen/errors';
import type { ResolvedOptions } from '../options.ts';
import type { Session } from '../session.ts';
export function createNodeSession(_m: Uint8Array, _o: ResolvedOptions): Promise<Session> {
  throw new ClipGenError('unimplemented', 'node backend');
}
