import { createHash, timingSafeEqual } from 'node:crypto';

/** The keys that open the doors. None: the doors are open. */
export class ApiKeys {
  /** Hashes, so that comparing takes the same time for keys of every length. */
  readonly #hashes: readonly Buffer[];

  /** @param keys separated by commas; empty entries are left out */
  constructor(keys: string) {
    this.#hashes = keys.split(',').flatMap((key) => (key.trim() === '' ? [] : [hash(key.trim())]));
  }

  /** @param authorization the header's value, `Bearer <key>` */
  allow(authorization: string | undefined): boolean {
    if (this.#hashes.length === 0) return true;
    const given = hash(/^Bearer +(.+)$/i.exec(authorization ?? '')?.[1]?.trim() ?? '');
    // All are compared, whichever fits.
    return this.#hashes.filter((known) => timingSafeEqual(known, given)).length > 0;
  }
}

function hash(key: string): Buffer {
  return createHash('sha256').update(key).digest();
}
