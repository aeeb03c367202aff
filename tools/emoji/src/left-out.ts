/** Code points of the five skin-tone modifiers. */
const SKIN_TONE_CODE = /(^|-)1F3F[B-F](-|$)/;

/** Names say it with a tone before "skin-tone", a number after "tone", or, in the Fluent sets, the bare tone. */
const SKIN_TONE_NAME =
  /(^|-)(light|medium|dark)-skin-tone|-tone-?\d|^(man|woman|person|people|hand)-.*-medium-(light|dark)/;

/** OpenMoji's private-use block of product logos, and single logos beside it. */
const LOGO_FIRST = 0xe040;
const LOGO_LAST = 0xe06f;
const OTHER_LOGOS = new Set(['E0FF', 'F000', 'F77A']);

/** Pictures of living people, of film characters and of products under their names. */
const NAMED = new Set([
  'trump',
  'greta-thunberg',
  'darth-vader',
  'captain-jack',
  'hal-9000',
  'tardis',
  'united-federation-of-planets-flag-star-trek',
  'crocs',
  'adilette',
  'arduino',
  'raspberry-pi',
  'ibeacon',
  'shibuya-109-department-store',
  'hfg-hochschule-fur-gestaltung-schwabisch-gmund',
]);

/** Whether the icon is a skin-tone variant of another, or a bare tone. */
export function isSkinTone(iconName: string, hexcodes: readonly string[]): boolean {
  return hexcodes.some((code) => SKIN_TONE_CODE.test(code)) || SKIN_TONE_NAME.test(iconName);
}

/** OpenMoji's private-use block of pride flags. */
const PRIDE_FLAG = /^E4[23][0-9A-F]$/;

/** Whether an icon that is no Unicode emoji is a flag, by its set's category, its code point or its name. */
export function isFlag(iconName: string, hexcodes: readonly string[], flagsOfSet: ReadonlySet<string>): boolean {
  return (
    flagsOfSet.has(iconName) ||
    hexcodes.some((code) => PRIDE_FLAG.test(code)) ||
    /^flag-|-flag$|-community$/.test(iconName)
  );
}

/** Whether the icon shows a trade mark or a named person; neither belongs in a model that draws. */
export function isTrademark(iconName: string, hexcodes: readonly string[]): boolean {
  if (NAMED.has(iconName)) return true;
  return hexcodes.some((code) => {
    const value = /^[0-9A-F]{4,6}$/.test(code) ? parseInt(code, 16) : 0;
    return (value >= LOGO_FIRST && value <= LOGO_LAST) || OTHER_LOGOS.has(code);
  });
}
