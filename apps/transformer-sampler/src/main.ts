import { runService } from '@clip-gen/service';
import { processSources, SAMPLER_SETTINGS } from './config.ts';
import { startSampler } from './start-sampler.ts';

/** Runs the service as a process. @returns the exit code when it ends before it serves */
export function main(argv: readonly string[]): Promise<number | undefined> {
  return runService(
    {
      settings: SAMPLER_SETTINGS,
      intro: 'Embeddings to token grids: the transformer of a clip-gen model as a gRPC service.',
      start: startSampler,
    },
    processSources(argv),
  );
}
