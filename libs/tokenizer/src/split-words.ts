/** Written in a text, these stand for the special tokens. */
export const START_OF_TEXT = '<|startoftext|>';
/** Ends a text; what follows it is padding. */
export const END_OF_TEXT = '<|endoftext|>';

// Contractions, runs of letters, single digits, runs of anything else but white space. The reference ignores case, by
// which U+017F is an s, and U+0345 (a mark whose capital is a letter) belongs nowhere and is dropped.
const WORDS =
  /<\|startoftext\|>|<\|endoftext\|>|'[sſ]|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\p{White_Space}\p{L}\p{N}\u0345]+/gu;

/** The words of a cleaned text, in the pattern of CLIP's tokenizer. */
export function splitWords(text: string): string[] {
  return text.match(WORDS) ?? [];
}
