export { CLIP_CONTEXT_LENGTH, ClipTokenizer, MAX_TEXT_LENGTH, type TokenizeOptions } from './clip-tokenizer.ts';
export { createClipTokenizer } from './create-clip-tokenizer.ts';
export { cutVocabulary, type CutVocabulary } from './cut-vocabulary.ts';
export { tokenizerFromJson, tokenizerToJson } from './tokenizer-json.ts';
export { Vocabulary } from './vocabulary.ts';
