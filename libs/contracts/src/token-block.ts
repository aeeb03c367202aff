import { invalidArgument } from '@clip-gen/errors';
import type { TokenEvent } from './generated/clipgen/v1/tokens.ts';

/** What a token event's tokens are: `positions` × `candidates` codes, position by position. */
export interface TokenBlock {
  readonly positions: number;
  readonly candidates: number;
}

/** @throws invalid_argument for an event without tokens, or with another number of them at some position */
export function tokenBlock(event: Pick<TokenEvent, 'tokens' | 'positions'>): TokenBlock {
  const { length } = event.tokens;
  const positions = event.positions || 1;
  if (length === 0) throw invalidArgument('tokens', 'at least one code', 'none');
  if (length % positions !== 0) throw invalidArgument('tokens', `as many for each of ${positions} positions`, length);
  return { positions, candidates: length / positions };
}
