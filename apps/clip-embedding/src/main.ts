import { runService } from '@clip-gen/service';
import { EMBEDDING_SETTINGS, processSources } from './config.ts';
import { startEmbedding } from './start-embedding.ts';

/** Runs the service as a process. @returns the exit code when it ends before it serves */
export function main(argv: readonly string[]): Promise<number | undefined> {
  return runService(
    {
      settings: EMBEDDING_SETTINGS,
      intro: 'Texts and pictures to vectors of one space: the CLIP of a clip-gen model as a gRPC service.',
      start: startEmbedding,
    },
    processSources(argv),
  );
}
