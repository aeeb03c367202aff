/** One drawing style: an icon package, and what to call its look in a caption. */
export interface Style {
  /** Folder name in the data set. */
  readonly id: string;
  /** The npm package that holds the icons. */
  readonly package: string;
  /** The look in words that fit before "style" and "drawing". */
  readonly look: string;
  /** The package whose `chars.json` says which character an icon draws, when the style's own package has none. */
  readonly charsFrom?: string;
}

/** The eight styles, in the order in which the data set lists them. */
export const STYLES: readonly Style[] = [
  { id: 'emojione', package: '@iconify-json/emojione', look: 'bold flat' },
  {
    id: 'fluent-emoji',
    package: '@iconify-json/fluent-emoji',
    look: 'glossy 3d',
    charsFrom: '@iconify-json/fluent-emoji-flat',
  },
  { id: 'fluent-emoji-flat', package: '@iconify-json/fluent-emoji-flat', look: 'rounded flat' },
  { id: 'fxemoji', package: '@iconify-json/fxemoji', look: 'plain flat' },
  { id: 'noto', package: '@iconify-json/noto', look: 'shaded cartoon' },
  { id: 'noto-v1', package: '@iconify-json/noto-v1', look: 'old cartoon' },
  { id: 'openmoji', package: '@iconify-json/openmoji', look: 'black outline' },
  { id: 'twemoji', package: '@iconify-json/twemoji', look: 'simple flat' },
];
