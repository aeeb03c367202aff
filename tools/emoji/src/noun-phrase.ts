/** Where the head noun of a phrase has ended: what follows only describes it. */
const AFTER_HEAD =
  /^(with|without|of|in|on|at|over|behind|showing|holding|from|to|for|between|facing|taking|getting|giving|wearing|playing|riding|doing|making|blowing|savoring|exhaling|screaming|vomiting|tilted|pointing|pointed|curving|fluttering|gesturing|rowing|lifting|bouncing|feeding|and)$/;

const PLURALS = new Set(['people', 'men', 'women', 'children', 'mice', 'feet', 'teeth']);

const SINGULARS_IN_S =
  /(ss|us|is)$|^(lens|gas|christmas|atlas|rhinoceros|canvas|aries|pisces|taurus|chess|dvds|series|thermos|headquarters|abacus)$/;

/** Things that one does not count. */
const MASS = new Set(
  (
    'bread rice bacon cheese popcorn butter salt food ice money water fire fog wood coral broccoli garlic spaghetti oden sushi ' +
    'milk wine sake mate curry tennis baseball softball basketball volleyball football lacrosse hockey badminton bowling cricket ' +
    'ping-pong pong golf yarn thread soap camping cooking construction clothing music dna confetti snow lightning rain litter ' +
    'luggage baggage hair paper chalk mud sand seaweed honey tea coffee beer flatbread corn ginger dashing collision customs ' +
    'no-one everyone infinity surveillance safety archery swimming surfing snorkling windsurfing pouring quarantine virtual-reality ' +
    'augmented-reality medication virtual reality foggy bald registered racing multiply plus minus divide jewelry'
  ).split(' '),
);

const WITH_THE =
  /^(earth$|statue of liberty|milky way|tokyo tower|eiffel tower|great pyramid|hanging gardens|colossus of|temple of|mausoleum at|lighthouse of|titanic|kaaba|number )/i;
const WITHOUT_ARTICLE =
  /^(planet earth|mount |no |dj |bouncing |playing |dashing |pouring |keycap|letter |number |ZZZ|santa|mrs|mx|two |three |eight |hundred |leafy green|pile of|clock |input |head shaking|sunset over|curry|steamed|stop sign$)/i;

/**
 * An emoji label as natural English: "man: red hair" → "man with red hair", "two o’clock" → "clock showing two o'clock",
 * "keycap: 5" → "number 5". Plain labels stay as they are.
 */
export function nounPhrase(label: string): string {
  const plain = label.replace(/[“”!]/g, '').replace(/’/g, "'").trim();
  const [, who, what] = /^(.+?): (.+)$/.exec(plain) ?? [];
  if (who !== undefined && what !== undefined) return joined(who, what);
  if (/(o'clock|-thirty)$/.test(plain)) return `clock showing ${plain.replace('-thirty', ' thirty')}`;
  const [, thing, detail] = /^(.+?) \((.+)\)$/.exec(plain) ?? [];
  if (thing !== undefined && detail !== undefined) return `${thing} for ${detail}`;
  return plain.replace(/^regional indicator /, 'letter ');
}

function joined(who: string, what: string): string {
  if (who === 'keycap') return what === '#' ? 'hash sign' : what === '*' ? 'asterisk' : `number ${what}`;
  const all = what.replace(/, ([^,]+)$/, ' and $1');
  if (what.startsWith('facing ')) return `${who} ${what}`;
  if (what === 'bald') return `bald ${who}`;
  if (what === 'beard') return `${who} with a beard`;
  if (who === 'kiss') return `kiss between ${all}`;
  if (who === 'couple with heart') return `${all} with a heart`;
  if (who === 'family') return `family of ${all}`;
  return `${who} with ${all}`;
}

/** The phrase with "a", "an", "the" or nothing before it: "an owl", "grapes", "bread", "the Statue of Liberty". */
export function withArticle(phrase: string): string {
  if (WITH_THE.test(phrase)) return `the ${phrase}`;
  if (/^(a|an|the) /i.test(phrase) || WITHOUT_ARTICLE.test(phrase)) return phrase;
  const first = phrase.split(' ')[0] ?? '';
  if (PLURALS.has(first)) return phrase;
  if (/^(man|woman|person)$/.test(first)) return `a ${phrase}`;
  const head = headNoun(phrase);
  if (PLURALS.has(head) || MASS.has(head)) return phrase;
  if (head.endsWith('s') && head.length > 3 && !SINGULARS_IN_S.test(head)) return phrase;
  return `${startsWithVowelSound(phrase) ? 'an' : 'a'} ${phrase}`;
}

function headNoun(phrase: string): string {
  const words = phrase.toLowerCase().split(' ');
  const end = words.findIndex((word, at) => at > 0 && AFTER_HEAD.test(word));
  return words[(end === -1 ? words.length : end) - 1] ?? '';
}

function startsWithVowelSound(phrase: string): boolean {
  const first = phrase.split(/[ -]/)[0] ?? '';
  if (/^[A-Z]$/.test(first)) return /[AEFHILMNORSX]/.test(first);
  if (/^(SOS|SUV|NG|ATM|OK|ON|END|ID|X)$/i.test(first)) return true;
  if (/^(uni|euro|one$|ufo|u$|ukul|ewe|use)/i.test(first)) return false;
  return /^([aeiou]|8|11|18|hour|honest|heir|x-)/i.test(first);
}
