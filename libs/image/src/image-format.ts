/** The file formats that are read and written. */
export const IMAGE_FORMATS = ['png', 'jpeg', 'webp'] as const;
/** A format that pictures are read from and written in. */
export type ImageFormat = (typeof IMAGE_FORMATS)[number];

/** File name endings that belong to a readable format, lower-case, with the dot. */
export const IMAGE_EXTENSIONS: readonly string[] = ['.png', '.jpg', '.jpeg', '.webp'];

const PNG = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const JPEG = [0xff, 0xd8, 0xff];
const RIFF = [0x52, 0x49, 0x46, 0x46];
const WEBP = [0x57, 0x45, 0x42, 0x50];

/** The format that the first twelve bytes announce, whatever the file is called; undefined for any other. */
export function sniffImageFormat(bytes: Uint8Array): ImageFormat | undefined {
  if (startsWith(bytes, PNG, 0)) return 'png';
  if (startsWith(bytes, JPEG, 0)) return 'jpeg';
  if (startsWith(bytes, RIFF, 0) && startsWith(bytes, WEBP, 8)) return 'webp';
  return undefined;
}

function startsWith(bytes: Uint8Array, magic: readonly number[], at: number): boolean {
  return bytes.length >= at + magic.length && magic.every((value, i) => bytes[at + i] === value);
}
