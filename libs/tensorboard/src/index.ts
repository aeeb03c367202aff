export type { PngImage } from './event.ts';
export { EventWriter, type EventWriterOptions } from './event-writer.ts';
