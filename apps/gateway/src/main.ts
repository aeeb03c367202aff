import { runService } from '@clip-gen/service';
import { GATEWAY_SETTINGS, processSources } from './config.ts';
import { startGateway } from './gateway.ts';

/** Runs the gateway as a process. @returns the exit code when it ends before it serves */
export function main(argv: readonly string[]): Promise<number | undefined> {
  return runService(
    {
      settings: GATEWAY_SETTINGS,
      intro: 'Prompt to pictures: REST, gRPC and a web page before the three model services of clip-gen.',
      start: startGateway,
    },
    processSources(argv),
  );
}
