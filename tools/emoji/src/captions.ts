import { createHash } from 'node:crypto';
import type { Emoji } from './emoji-index.ts';
import { nounPhrase, withArticle } from './noun-phrase.ts';
import type { Style } from './styles.ts';
import { WORDING } from './wording.ts';

/** What a caption can speak of. */
export interface Subject {
  readonly name: string;
  readonly label: string;
  readonly emoji: Emoji | undefined;
  readonly style: Style;
  /** The picture's one dominant colour, if it has one. */
  readonly colour: string | undefined;
}

/** Names without articles, the most natural first: ["car", "sport utility vehicle", "SUV"]. */
export function phrasesOf(label: string, emoji: Emoji | undefined): [string, ...string[]] {
  const worded = WORDING[label];
  const phrase = nounPhrase(label);
  const phrases = new Set(worded ?? [phrase]);
  if (worded === undefined && emoji !== undefined) {
    const short = shortName(phrase, emoji);
    if (short !== undefined) phrases.add(short);
  }
  return [...phrases] as [string, ...string[]];
}

/** "hiking boot" → "boot", "goat face" → "goat": the label's last (or, of a face, first) word, if it is also a tag. */
function shortName(phrase: string, emoji: Emoji): string | undefined {
  if (!SHORT_NAME_GROUPS.has(emoji.group)) return undefined;
  const words = phrase.split(' ');
  const word = words.at(-1) === 'face' ? words[0] : words.at(-1);
  return words.length > 1 && word !== undefined && !TOO_BROAD.has(word) && emoji.tags.includes(word) ? word : undefined;
}

const SHORT_NAME_GROUPS = new Set(['animals-nature', 'food-drink', 'travel-places', 'activities', 'objects']);
/** Last words that name something else than the thing. */
const TOO_BROAD = new Set(['office', 'home', 'fast', 'game', 'sign']);
const COLOUR_GROUPS = new Set([...SHORT_NAME_GROUPS, 'component']);
const COLOUR_WORD =
  /\b(red|orange|yellow|green|blue|purple|pink|brown|black|white|grey|gold|golden|turquoise|beige)\b/i;

/**
 * Twelve or so captions of one picture, the plainest first: name, name with article, "a picture of", the style in words,
 * keywords, kind of thing, measured colour, other names. Without repeats; the same subject gives the same captions.
 */
export function captionsOf(subject: Subject): string[] {
  const { style, emoji, colour } = subject;
  const [phrase, ...others] = phrasesOf(subject.label, emoji);
  const thing = withArticle(phrase);
  const captions = [
    phrase,
    thing,
    `a picture of ${thing}`,
    `an emoji of ${thing}`,
    `${phrase}, ${style.look} style`,
    `${thing}, ${style.id.replaceAll('-', ' ')} style`,
    `${withArticle(`${style.look} drawing`)} of ${thing}`,
  ];
  const keywords = keywordsOf(subject, phrase);
  if (keywords.length > 0) captions.push(`${phrase}: ${keywords.join(', ')}`);
  const kind = KINDS[emoji?.subgroup ?? ''];
  if (kind !== undefined) captions.push(`${phrase}, ${kind}`);
  for (const other of others) captions.push(other, withArticle(other));
  for (const [at, other] of others.entries()) if (at < 2) captions.push(`a picture of ${withArticle(other)}`);
  if (colour !== undefined && COLOUR_GROUPS.has(emoji?.group ?? '')) {
    for (const name of [phrase, ...others].filter((each) => !COLOUR_WORD.test(each)).slice(0, 2)) {
      const coloured = withArticle(`${colour} ${name}`);
      captions.push(coloured, `a picture of ${coloured}`);
    }
  }
  return [...new Set(captions)];
}

/** Two tags that add something, drawn by name and style so that the styles of one emoji bring different words. */
function keywordsOf({ name, style, emoji }: Subject, phrase: string): string[] {
  const said = new Set(phrase.toLowerCase().split(/[ -]/));
  return (emoji?.tags ?? [])
    .filter((tag) => !said.has(tag))
    .map((tag) => ({ tag, order: createHash('sha256').update(`${style.id}/${name}/${tag}`).digest('hex') }))
    .sort((a, b) => (a.order < b.order ? -1 : 1))
    .slice(0, 2)
    .map(({ tag }) => tag);
}

/** Emojibase's subgroup → the kind of thing, as one would say it after the name. */
const KINDS: Readonly<Record<string, string>> = {
  'cat-face': 'a cat face',
  heart: 'a heart',
  'person-role': 'a person at work',
  'person-sport': 'a person doing sport',
  'person-fantasy': 'a fantasy person',
  family: 'people',
  'body-parts': 'a part of the body',
  'animal-mammal': 'an animal',
  'animal-bird': 'a bird',
  'animal-amphibian': 'an animal',
  'animal-reptile': 'a reptile',
  'animal-marine': 'a sea animal',
  'animal-bug': 'a small animal',
  'plant-flower': 'a flower',
  'plant-other': 'a plant',
  'food-fruit': 'a fruit',
  'food-vegetable': 'a vegetable',
  'food-prepared': 'food',
  'food-asian': 'asian food',
  'food-sweet': 'sweet food',
  drink: 'a drink',
  dishware: 'dishware',
  'place-geographic': 'a landscape',
  'place-building': 'a building',
  'place-religious': 'a building',
  'transport-ground': 'a vehicle',
  'transport-water': 'a boat',
  'transport-air': 'in the air',
  time: 'time',
  'sky-weather': 'sky and weather',
  'award-medal': 'an award',
  sport: 'sport',
  game: 'a game',
  clothing: 'something to wear',
  'musical-instrument': 'a musical instrument',
  phone: 'a device',
  computer: 'a device',
  'book-paper': 'book or paper',
  money: 'money',
  mail: 'mail',
  writing: 'something to write with',
  office: 'an office thing',
  tool: 'a tool',
  science: 'science',
  medical: 'medicine',
  household: 'a household thing',
  arrow: 'an arrow',
  zodiac: 'a zodiac sign',
  'transport-sign': 'a sign',
  warning: 'a sign',
  religion: 'a religious symbol',
  geometric: 'a shape',
  math: 'a sign',
  alphanum: 'a sign with letters',
};
