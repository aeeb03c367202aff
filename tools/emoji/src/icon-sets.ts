import { ClipGenError } from '@clip-gen/errors';
import { addShortcodes, asciiWords, normalHexcode, type Emoji, type EmojiIndex } from './emoji-index.ts';
import { LEGACY_NAMES } from './legacy-names.ts';
import { isFlag, isSkinTone, isTrademark } from './left-out.ts';
import { readPackageJson } from './packages.ts';
import { STYLES, type Style } from './styles.ts';

/** One picture to draw: an icon of one style, under the name that all styles share. */
export interface Icon {
  readonly style: Style;
  /** The same for the same emoji in all styles: `sport-utility-vehicle`. Lower-case ASCII words joined by `-`. */
  readonly name: string;
  /** What to call it in words, before it is made natural English: emojibase's label, or the icon's own name. */
  readonly label: string;
  /** The Unicode emoji that it draws, if it draws one. */
  readonly emoji: Emoji | undefined;
  /** The inside of the `<svg>` element. */
  readonly body: string;
  /** SVG view box: left, top, width, height. */
  readonly viewBox: readonly [number, number, number, number];
}

/** What a package says about itself, for credit. */
export interface StyleCredit {
  readonly package: string;
  readonly version: string;
  readonly title: string;
  readonly author: string;
  readonly authorUrl: string;
  readonly license: string;
  readonly licenseUrl: string;
}

interface IconFile {
  readonly icons: Record<string, IconEntry>;
  readonly aliases?: Record<string, { parent: string; hFlip?: boolean; vFlip?: boolean; rotate?: number }>;
  readonly width?: number;
  readonly height?: number;
}

interface IconEntry {
  readonly body: string;
  readonly hidden?: boolean;
  readonly left?: number;
  readonly top?: number;
  readonly width?: number;
  readonly height?: number;
}

interface InfoFile {
  readonly name: string;
  readonly author: { name: string; url?: string };
  readonly license: { title: string; spdx?: string; url?: string };
}

/** Read what the package of `style` states about its author and licence. */
export function readCredit(style: Style): StyleCredit {
  const info = readPackageJson<InfoFile>(style.package, 'info.json');
  return {
    package: style.package,
    version: readPackageJson<{ version: string }>(style.package, 'package.json').version,
    title: info.name,
    author: info.author.name,
    authorUrl: info.author.url ?? '',
    license: info.license.spdx ?? info.license.title,
    licenseUrl: info.license.url ?? '',
  };
}

/** Let every icon name that a style maps to a character find that emoji in the other styles too. */
export function addIconNames(index: EmojiIndex): void {
  for (const style of STYLES) {
    for (const [name, hexcodes] of readCharacters(style)) for (const code of hexcodes) index.addName(name, code);
  }
  addShortcodes(index);
}

/**
 * The icons of one style that the data set keeps, sorted by name: no flags, no skin tones, no trade marks, no icon that
 * its own set hides as superseded.
 */
export function readIcons(style: Style, index: EmojiIndex): Icon[] {
  const file = readPackageJson<IconFile>(style.package, 'icons.json');
  const characters = readCharacters(style);
  const flags = new Set(
    readPackageJson<{ categories?: Record<string, string[]> }>(style.package, 'metadata.json').categories?.Flags,
  );
  const aliases = readAliases(file);
  const icons: Icon[] = [];
  for (const [iconName, entry] of Object.entries(file.icons)) {
    if (entry.hidden === true) continue;
    const names = [iconName, ...(aliases.get(iconName) ?? [])];
    const hexcodes = names.flatMap((name) => characters.get(name) ?? []);
    if (isSkinTone(iconName, hexcodes) || isTrademark(iconName, hexcodes)) continue;
    const emoji = findEmoji(style, names, hexcodes, index);
    if (emoji === undefined ? isFlag(iconName, hexcodes, flags) : emoji.group === 'flags') continue;
    const label = emoji?.label ?? legacyName(style, iconName) ?? ownWords(iconName, hexcodes);
    icons.push({ style, name: asciiWords(label), label, emoji, body: entry.body, viewBox: viewBoxOf(entry, file) });
  }
  if (icons.length === 0) throw new ClipGenError('data_corrupt', `${style.package} holds no icon to draw`);
  return dropCopies(icons.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0)));
}

function findEmoji(
  style: Style,
  names: readonly string[],
  hexcodes: readonly string[],
  index: EmojiIndex,
): Emoji | undefined {
  for (const code of hexcodes) {
    const emoji = index.findByHexcode(code);
    if (emoji !== undefined) return emoji;
  }
  // A code point of its own that emojibase lacks: newer than it, or private. Its name must not find another emoji.
  if (hexcodes.length > 0) return undefined;
  for (const name of names) {
    const emoji = index.findByName(legacyName(style, name) ?? name);
    if (emoji !== undefined) return emoji;
  }
  return undefined;
}

function legacyName(style: Style, iconName: string): string | undefined {
  return LEGACY_NAMES[`${style.id}:${iconName}`] ?? LEGACY_NAMES[iconName];
}

/** "3d-printer" → "3d printer"; OpenMoji's screen symbols are named by verbs ("sort", "edit") and need a noun. */
function ownWords(iconName: string, hexcodes: readonly string[]): string {
  const words = iconName.replaceAll('-', ' ');
  return hexcodes.some((code) => /^E2(4[0-9A-F]|5[0-9A-F]|6[0-9])$/.test(code)) ? `${words} symbol` : words;
}

/** Icon name → code points, turned round from `chars.json`. */
function readCharacters(style: Style): Map<string, string[]> {
  const characters = new Map<string, string[]>();
  const chars = readPackageJson<Record<string, string>>(style.charsFrom ?? style.package, 'chars.json');
  for (const [hexcode, name] of Object.entries(chars)) {
    characters.set(name, [...(characters.get(name) ?? []), normalHexcode(hexcode)]);
  }
  return characters;
}

/** Other names of an icon; an alias that turns or mirrors its parent is another picture and does not count. */
function readAliases(file: IconFile): Map<string, string[]> {
  const aliases = new Map<string, string[]>();
  for (const [name, alias] of Object.entries(file.aliases ?? {})) {
    if (alias.hFlip === true || alias.vFlip === true || (alias.rotate ?? 0) !== 0) continue;
    aliases.set(alias.parent, [...(aliases.get(alias.parent) ?? []), name]);
  }
  return aliases;
}

function viewBoxOf(entry: IconEntry, file: IconFile): [number, number, number, number] {
  return [entry.left ?? 0, entry.top ?? 0, entry.width ?? file.width ?? 16, entry.height ?? file.height ?? 16];
}

/** A set sometimes draws one emoji under two names; the second copy of the very same drawing goes. */
function dropCopies(icons: readonly Icon[]): Icon[] {
  const seen = new Set<string>();
  return icons.filter((icon) => {
    const key = `${icon.name}\n${icon.body}`;
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}
