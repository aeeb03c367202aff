import { readPackageJson } from './packages.ts';

/** One Unicode emoji with its English words, from `emojibase-data`. */
export interface Emoji {
  /** Code points in upper-case hex, joined by `-`, without the variation selector FE0F. */
  readonly hexcode: string;
  readonly emoji: string;
  readonly label: string;
  readonly tags: readonly string[];
  /** `animals-nature`, `food-drink`, …; `component` for letters, hair and skin tones. */
  readonly group: string;
  /** `food-fruit`, `animal-mammal`, … */
  readonly subgroup: string;
}

interface EmojibaseEntry {
  readonly label: string;
  readonly hexcode: string;
  readonly emoji: string;
  readonly tags?: readonly string[];
  readonly group?: number;
  readonly subgroup?: number;
}

/** The emoji that Unicode has, found by code points or by any name that a known source gives them. */
export class EmojiIndex {
  private readonly byHexcode = new Map<string, Emoji>();
  private readonly byName = new Map<string, Emoji>();

  constructor(emojis: Iterable<Emoji>) {
    for (const emoji of emojis) this.byHexcode.set(emoji.hexcode, emoji);
    for (const emoji of this.byHexcode.values()) this.addName(emoji.label, emoji.hexcode);
  }

  /** Make `name` find the emoji of `hexcode`. The first use of a name wins; unknown code points are ignored. */
  addName(name: string, hexcode: string): void {
    const emoji = this.byHexcode.get(hexcode);
    const key = squash(name);
    if (emoji !== undefined && key !== '' && !this.byName.has(key)) this.byName.set(key, emoji);
  }

  findByHexcode(hexcode: string): Emoji | undefined {
    return this.byHexcode.get(hexcode);
  }

  /** Case, hyphens, spaces and quotes do not matter: "Hot Dog", "hot-dog" and "hotdog" find the same emoji. */
  findByName(name: string): Emoji | undefined {
    return this.byName.get(squash(name));
  }
}

/** Labels win over the shortcodes of these presets, earlier presets over later ones. */
const SHORTCODE_PRESETS = ['emojibase', 'cldr', 'joypixels', 'github', 'iamcal'];

/** Read every emoji of `emojibase-data` in English, named by its label. */
export function readEmojiIndex(): EmojiIndex {
  const meta = readPackageJson<{ groups: Record<string, string>; subgroups: Record<string, string> }>(
    'emojibase-data',
    'meta/groups.json',
  );
  const entries = readPackageJson<readonly EmojibaseEntry[]>('emojibase-data', 'en/data.json');
  return new EmojiIndex(
    entries.map((entry) => ({
      hexcode: normalHexcode(entry.hexcode),
      emoji: entry.emoji,
      label: entry.label,
      tags: entry.tags ?? [],
      group: meta.groups[String(entry.group ?? 2)] ?? 'component',
      subgroup: meta.subgroups[String(entry.subgroup ?? -1)] ?? '',
    })),
  );
}

/** Add the shortcodes of chat programs as names, so that sets which use them are understood. */
export function addShortcodes(index: EmojiIndex): void {
  for (const preset of SHORTCODE_PRESETS) {
    const codes = readPackageJson<Record<string, string | string[]>>('emojibase-data', `en/shortcodes/${preset}.json`);
    for (const [hexcode, names] of Object.entries(codes)) {
      for (const name of [names].flat()) index.addName(name, normalHexcode(hexcode));
    }
  }
}

/** Upper case, without FE0F, which only asks for the coloured form. */
export function normalHexcode(hexcode: string): string {
  return hexcode
    .toUpperCase()
    .split('-')
    .filter((code) => code !== 'FE0F')
    .join('-');
}

function squash(name: string): string {
  return asciiWords(name).replaceAll('-', '');
}

/** A file name for a label: lower-case ASCII words joined by `-`. "piñata" → "pinata", "keycap: #" → "keycap-hash". */
export function asciiWords(label: string): string {
  return label
    .replace(/#/g, 'hash')
    .replace(/\*/g, 'asterisk')
    .toLowerCase()
    .normalize('NFKD')
    .replace(/[’']|[\u0300-\u036f]/g, '')
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '');
}
