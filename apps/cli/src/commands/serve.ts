import { runService } from '@clip-gen/service';
import { Command } from 'commander';
import { readConfig, settingSources } from '../config.ts';
import { serveSettings } from '../serving/serve-settings.ts';
import { startAll } from '../serving/start-all.ts';

/** `clip-gen serve`: its flags are settings, read as those of the services are. */
export function serveCommand(): Command {
  return new Command('serve')
    .description('Serve a model over REST, gRPC and a web page')
    .helpOption(false)
    .allowUnknownOption()
    .allowExcessArguments()
    .argument('[flags...]')
    .action(async (_flags: string[], _options: object, command: Command) => {
      const exitCode = await runService(
        {
          settings: serveSettings(readConfig().modelFolder),
          intro: INTRO,
          start: async (settings, deps) => {
            const running = await startAll(settings, deps);
            const host = settings.httpAddress.replace(/:\d+$/, '').replace('0.0.0.0', 'localhost');
            const scheme = settings.tlsCert === '' ? 'http' : 'https';
            process.stdout.write(
              `clip-gen is at ${scheme}://${host}:${running.httpPort} (web page and REST), gRPC on port ${running.port}, ` +
                `metrics on port ${running.metricsPort}; Ctrl-C ends it\n`,
            );
            return running;
          },
        },
        settingSources(command.args),
      );
      if (exitCode !== undefined) process.exitCode = exitCode;
    });
}

const INTRO = `Serves a model: CLIP, transformer and decoder as gRPC services on loopback, and the gateway before them, in one process.

  clip-gen serve                                   the emoji model, http://127.0.0.1:8080
  clip-gen serve --model my-model --http-address 0.0.0.0:80
  curl -s localhost:8080/v1/images/generations -H 'content-type: application/json' -d '{"prompt": "a red apple"}'

Each service can also be started alone, on other machines and several times: see apps/*/README.md.`;
