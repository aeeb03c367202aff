import { expect, it } from 'vitest';
import { createClipTokenizer } from './create-clip-tokenizer.ts';
import { mergeBytes } from './merge-bytes.ts';
import { Vocabulary } from './vocabulary.ts';

/** Counts how often a pair is looked up: what the work on a word grows with. */
class CountingVocabulary extends Vocabulary {
  lookups = 0;

  override rank(left: number, right: number): number | undefined {
    this.lookups++;
    return super.rank(left, right);
  }
}

const vocabulary = new CountingVocabulary(createClipTokenizer().vocabulary.merges, 'the vocabulary');

function lookupsOf(word: string): number {
  vocabulary.lookups = 0;
  mergeBytes(new TextEncoder().encode(word), vocabulary);
  return vocabulary.lookups;
}

it.each(['abcdefghij', 'aaaaaaaaaa', '&&&&&&&&&&', 'thethethet'])(
  'looks at %s… in proportion to its length',
  (part) => {
    const [short, long] = [lookupsOf(part.repeat(100)), lookupsOf(part.repeat(3000))];
    expect(short).toBeGreaterThanOrEqual(999); // each adjacent pair at least once
    expect(long / short).toBeGreaterThan(29);
    expect(long / short).toBeLessThan(31);
  },
);
