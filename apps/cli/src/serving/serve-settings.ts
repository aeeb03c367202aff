import { defineSettings, list, text, type SettingsOf } from '@clip-gen/config';
import { GATEWAY_SETTINGS } from '@clip-gen/gateway';
import { SAMPLER_SETTINGS } from '@clip-gen/transformer-sampler';

const { httpAddress, address, metricsAddress, modelName, defaultCandidates, maxCandidates, maxImageSide } =
  GATEWAY_SETTINGS.declarations;
const { maxInFlight, maxWaiting, requestTimeoutMs, drainMs, apiKeys, logLevel, logFormat } =
  GATEWAY_SETTINGS.declarations;
const { generationDefaults, provider, threads } = SAMPLER_SETTINGS.declarations;

/** What `clip-gen serve` takes: the gateway's doors and limits, and what the three services behind it share. */
export function serveSettings(modelFolder: string) {
  return defineSettings('clip-gen serve', {
    model: text({
      default: modelFolder,
      description: 'A model: clip/, vqgan/ and gpt/. The default is the emoji model that comes along.',
    }),
    decoders: list({
      default: [],
      of: text({
        description: '',
        pattern: { regex: /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}=.{1,1000}$/, range: 'name=decoder.json' },
      }),
      description: 'More decoders that a request can choose by name: ONNX files, each described by its manifest.',
    }),
    generationDefaults,
    ...{ provider, threads },
    ...{ httpAddress, address, metricsAddress, modelName, defaultCandidates, maxCandidates, maxImageSide },
    ...{ maxInFlight, maxWaiting, requestTimeoutMs, drainMs, apiKeys, logLevel, logFormat },
  });
}

export type ServeSettings = SettingsOf<ReturnType<typeof serveSettings>>;
