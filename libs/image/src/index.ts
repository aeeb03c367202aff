export { clipPixels } from './clip-pixels.ts';
export { setCodecThreads } from './codec-threads.ts';
export { contactSheet, type ContactSheetOptions } from './contact-sheet.ts';
export { DEFAULT_MAX_PIXELS, decodeImage, type DecodeOptions } from './decode-image.ts';
export { encodeImage, type EncodeOptions } from './encode-image.ts';
export { fitSquare } from './fit-square.ts';
export { IMAGE_EXTENSIONS, IMAGE_FORMATS, sniffImageFormat, type ImageFormat } from './image-format.ts';
export { DEFAULT_MAX_BYTES } from './image-source.ts';
export { meanSquaredError } from './mean-squared-error.ts';
export {
  checkPictureBytes,
  readPictureBytes,
  writePictureBytes,
  type PictureBytes,
  type PictureLimits,
} from './picture-bytes.ts';
export {
  CLIP_NORMALISATION,
  SYMMETRIC,
  imagesToTensor,
  levelTables,
  tensorToImages,
  type Normalisation,
} from './pixel-tensor.ts';
export { centreCrop, cropImage, resizeImage, type ResizeKernel } from './resize-image.ts';
export { checkRgbImage, type RgbImage } from './rgb-image.ts';
