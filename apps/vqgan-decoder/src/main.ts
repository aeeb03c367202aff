import { runService } from '@clip-gen/service';
import { DECODER_SETTINGS, processSources } from './config.ts';
import { startDecoder } from './start-decoder.ts';

/** Runs the service as a process. @returns the exit code when it ends before it serves */
export function main(argv: readonly string[]): Promise<number | undefined> {
  return runService(
    {
      settings: DECODER_SETTINGS,
      intro: 'Token grids to pictures: the VQGAN of a clip-gen model, or any ONNX decoder, as a gRPC service.',
      start: startDecoder,
    },
    processSources(argv),
  );
}
