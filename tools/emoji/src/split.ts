import { createHash } from 'node:crypto';

/** What a person types first, and the names whose pictures answer it. These are never held out. */
export const FIRST_PROMPTS: readonly { readonly prompt: string; readonly names: readonly string[] }[] = [
  { prompt: 'a red apple', names: ['red-apple'] },
  { prompt: 'a slice of pizza', names: ['pizza'] },
  { prompt: 'smiling face with sunglasses', names: ['smiling-face-with-sunglasses'] },
  { prompt: 'a blue car', names: ['sport-utility-vehicle', 'automobile', 'oncoming-automobile'] },
  { prompt: 'sunflower', names: ['sunflower'] },
  { prompt: 'soccer ball', names: ['soccer-ball'] },
  { prompt: 'rocket', names: ['rocket'] },
  { prompt: 'dog face', names: ['dog-face', 'dog'] },
];

const KEPT = new Set(FIRST_PROMPTS.flatMap(({ names }) => names));

/** The split rule in words, for the manifest. */
export const SPLIT_RULE =
  'held out when the first 32 bits of sha256("emoji:" + name), big-endian, are divisible by 10; by name, so one emoji ' +
  'is on the same side in all styles; names behind the first prompts are always in train';

/** `heldout` for one name in ten, by a hash of the name: stable across releases, whatever other names exist. */
export function splitOf(name: string): 'train' | 'heldout' {
  if (KEPT.has(name)) return 'train';
  return createHash('sha256').update(`emoji:${name}`).digest().readUInt32BE(0) % 10 === 0 ? 'heldout' : 'train';
}
