import type { ImageDataset } from '@clip-gen/datasets';
import type { BatchShare } from './distributed/batch-share.ts';

/** Settings that may change between two runs of one training without changing what it learns. */
export const FREE_SETTINGS: readonly string[] = ['checkpointSeconds', 'threads', 'validationBatches'];

/** A difference names so many settings at most. */
const NAMED = 3;

/**
 * What must agree for a training to go on, as JSON: the settings that shape its numbers, the pictures, and the frozen
 * networks it looks through.
 *
 * @param whole pictures of a step; how they are divided among processes and runs may change
 * @param frozen hash of the frozen networks, where there are some
 */
export function identityOf(settings: object, { whole }: BatchShare, data: ImageDataset, frozen?: string): string {
  const kept = Object.entries(settings).filter(([name]) => !FREE_SETTINGS.includes(name) && name !== 'accumulate');
  const shaping = { ...Object.fromEntries(kept), batchSize: whole };
  return JSON.stringify({ settings: shaping, data: data.fingerprint(), frozen });
}

/** What differs between two identities, in words: `other settings (batchSize 8, now 4)`, `other pictures`. */
export function describeDifference(saved: string, now: string): string {
  const [before, after] = [parse(saved), parse(now)];
  const names = [...new Set([...Object.keys(before.settings), ...Object.keys(after.settings)])];
  const changes = names.flatMap((name) => {
    const [old, fresh] = [JSON.stringify(before.settings[name]), JSON.stringify(after.settings[name])];
    return old === fresh ? [] : [`${name} ${old ?? 'not set'}, now ${fresh ?? 'not set'}`];
  });
  const more = changes.length > NAMED ? `; ${changes.length - NAMED} more` : '';
  const parts = [
    ...(changes.length > 0 ? [`other settings (${changes.slice(0, NAMED).join('; ')}${more})`] : []),
    ...(before.data !== after.data ? ['other pictures'] : []),
    ...(before.frozen !== after.frozen ? ['another frozen model'] : []),
  ];
  return parts.length > 0 ? parts.join(' and ') : 'another identity';
}

interface Identity {
  readonly settings: Readonly<Record<string, unknown>>;
  readonly data?: unknown;
  readonly frozen?: unknown;
}

/** The saved one comes from a file: whatever it is, it differs. */
function parse(text: string): Identity {
  try {
    const { settings, data, frozen } = JSON.parse(text) as Partial<Identity>;
    return { settings: typeof settings === 'object' && settings !== null ? settings : {}, data, frozen };
  } catch {
    return { settings: {} };
  }
}
