import { defineSettings, text, type SettingsOf } from '@clip-gen/config';
import { GATEWAY_SETTINGS } from '@clip-gen/gateway';
import { clientTlsSettings } from '@clip-gen/service';
import { SAMPLER_SETTINGS } from '@clip-gen/transformer-sampler';
import { servedDecoders } from './served-decoders.ts';

const { httpAddress, address, metricsAddress, modelName, defaultCandidates, maxCandidates, maxImageSide } =
  GATEWAY_SETTINGS.declarations;
const { maxInFlight, maxWaiting, requestTimeoutMs, drainMs, apiKeys, logLevel, logFormat } =
  GATEWAY_SETTINGS.declarations;
const { tlsCert, tlsKey, tlsClientCa } = GATEWAY_SETTINGS.declarations;
const { peerCa, peerCert, peerKey, peerName } = clientTlsSettings('the decoders that run elsewhere');
const { generationDefaults, provider, threads } = SAMPLER_SETTINGS.declarations;

/** The name of the model's own decoder, which is the default. */
export const OWN_DECODER = 'vqgan';

/** What `clip-gen serve` takes: the gateway's doors and limits, and what the three services behind it share. */
export function serveSettings(modelFolder: string) {
  return defineSettings('clip-gen serve', {
    model: text({
      default: modelFolder,
      description: 'A model: clip/, vqgan/ and gpt/. The default is the emoji model that comes along.',
    }),
    decoders: servedDecoders({
      taken: [OWN_DECODER],
      description:
        'More decoders that a request can choose by name: ONNX files, each described by its manifest, or TokenDecoder servers that run elsewhere (over TLS where --peer-ca is given).',
    }),
    generationDefaults,
    ...{ provider, threads },
    ...{ httpAddress, address, metricsAddress, modelName, defaultCandidates, maxCandidates, maxImageSide },
    ...{ maxInFlight, maxWaiting, requestTimeoutMs, drainMs, apiKeys },
    ...{ tlsCert, tlsKey, tlsClientCa, peerCa, peerCert, peerKey, peerName, logLevel, logFormat },
  });
}

export type ServeSettings = SettingsOf<ReturnType<typeof serveSettings>>;
