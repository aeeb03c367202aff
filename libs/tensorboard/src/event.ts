import { BinaryWriter } from '@bufbuild/protobuf/wire';

/**
 * What a writer records. Only the fields below of TensorFlow's `Event`, `Summary`, `SummaryMetadata` and `TensorProto`
 * messages (tensorflow/core/util/event.proto, tensorflow/core/framework) are ever written, so they are encoded by hand.
 */
export type EventContent =
  | { readonly kind: 'version' }
  | { readonly kind: 'scalars'; readonly values: Iterable<readonly [tag: string, value: number]> }
  | { readonly kind: 'image'; readonly tag: string; readonly image: PngImage }
  | { readonly kind: 'text'; readonly tag: string; readonly text: string };

/** A PNG file in memory and the size that it says it has. */
export interface PngImage {
  readonly png: Uint8Array;
  /** Pixels. */
  readonly width: number;
  /** Pixels. */
  readonly height: number;
}

/** `Summary.Image.colorspace`: 8-bit RGB. It is a note; viewers believe the PNG. */
const COLORSPACE_RGB = 3;
const DT_STRING = 7;
const DATA_CLASS_TENSOR = 2;

/**
 * An encoded `Event`.
 *
 * @param wallTimeSeconds seconds since 1970
 * @param step non-negative integer
 */
export function encodeEvent(wallTimeSeconds: number, step: number, content: EventContent): Uint8Array {
  const event = new BinaryWriter();
  event.uint32(field(1, FIXED64)).double(wallTimeSeconds);
  if (step !== 0) event.uint32(field(2, VARINT)).int64(step); // absent means 0
  if (content.kind === 'version') {
    event.uint32(field(3, LENGTH)).string('brain.Event:2');
  } else {
    event.uint32(field(5, LENGTH)).fork(); // Event.summary
    writeSummary(event, content);
    event.join();
  }
  return event.finish();
}

type SummaryContent = Exclude<EventContent, { kind: 'version' }>;

function writeSummary(summary: BinaryWriter, content: SummaryContent): void {
  switch (content.kind) {
    case 'scalars':
      for (const [tag, value] of content.values) {
        summary.uint32(field(1, LENGTH)).fork(); // Summary.value
        summary.uint32(field(1, LENGTH)).string(tag);
        summary.uint32(field(2, FIXED32)).float(value); // simple_value
        summary.join();
      }
      return;
    case 'image':
      summary.uint32(field(1, LENGTH)).fork();
      summary.uint32(field(1, LENGTH)).string(content.tag);
      writeImage(summary.uint32(field(4, LENGTH)).fork(), content.image);
      summary.join().join();
      return;
    case 'text':
      summary.uint32(field(1, LENGTH)).fork();
      summary.uint32(field(1, LENGTH)).string(content.tag);
      writeStringTensor(summary.uint32(field(8, LENGTH)).fork(), content.text);
      writeTextMetadata(summary.join().uint32(field(9, LENGTH)).fork());
      summary.join().join();
      return;
  }
}

function writeImage(image: BinaryWriter, { png, width, height }: PngImage): void {
  image.uint32(field(1, VARINT)).int32(height);
  image.uint32(field(2, VARINT)).int32(width);
  image.uint32(field(3, VARINT)).int32(COLORSPACE_RGB);
  image.uint32(field(4, LENGTH)).bytes(png); // encoded_image_string
}

/** A `TensorProto` of shape [1]. */
function writeStringTensor(tensor: BinaryWriter, text: string): void {
  tensor.uint32(field(1, VARINT)).int32(DT_STRING);
  tensor.uint32(field(2, LENGTH)).fork(); // tensor_shape
  tensor.uint32(field(2, LENGTH)).fork(); // dim
  tensor.uint32(field(1, VARINT)).int64(1); // size
  tensor.join().join();
  tensor.uint32(field(8, LENGTH)).string(text); // string_val
}

/** A `SummaryMetadata` that hands the tensor to the text dashboard. */
function writeTextMetadata(metadata: BinaryWriter): void {
  metadata.uint32(field(1, LENGTH)).fork(); // plugin_data
  metadata.uint32(field(1, LENGTH)).string('text'); // plugin_name
  metadata.join();
  metadata.uint32(field(4, VARINT)).int32(DATA_CLASS_TENSOR);
}

const VARINT = 0;
const FIXED64 = 1;
const LENGTH = 2;
const FIXED32 = 5;

/** The tag before a field's value on the wire. */
function field(number: number, wireType: number): number {
  return (number << 3) | wireType;
}
