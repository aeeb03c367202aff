import { address, list, text, type Setting } from '@clip-gen/config';
import { invalidArgument } from '@clip-gen/errors';

/** A decoder beside the model's own: an ONNX file that is served here, or a server that runs elsewhere. */
export type ServedDecoder =
  | { readonly name: string; readonly manifest: string; readonly address?: undefined }
  | { readonly name: string; readonly address: string; readonly manifest?: undefined };

/** Names of letters, digits, `.`, `_` and `-`, so that they can stand behind the model's name and a colon. */
const ENTRY = /^([A-Za-z0-9][A-Za-z0-9._-]{0,63})=(.{1,1000})$/;
/** What can only be meant as `host:port`; a file of such a name is `./file:1`. */
const LIKE_ADDRESS = /^[^/\\]*:\d+$/;
const ADDRESS = address({ description: '' });

/**
 * `name=decoder.json` or `name=host:port`, any number of them. A name may come several times with addresses: they are
 * replicas.
 *
 * @param taken names that are the model's own
 */
export function servedDecoders(options: {
  readonly taken: readonly string[];
  readonly description: string;
}): Setting<readonly ServedDecoder[]> {
  const { taken, description } = options;
  const range = 'name=decoder.json or name=host:port';
  const texts = list({ description, of: text({ description: '', pattern: { regex: ENTRY, range } }) });
  return {
    ...texts,
    default: [],
    parse(value, flag) {
      const decoders = texts.parse(value, flag).map((entry) => readEntry(entry, flag));
      const names = new Map(taken.map((name) => [name, "the model's own"]));
      for (const { name, manifest } of decoders) {
        const other = names.get(name);
        if (other !== undefined && !(other === ELSEWHERE && manifest === undefined)) {
          throw invalidArgument(flag, `names that differ; ${name} is ${other}`, value);
        }
        names.set(name, manifest === undefined ? ELSEWHERE : 'there already');
      }
      return decoders;
    },
    format: (decoders) => decoders.map(({ name, manifest, address: at }) => `${name}=${manifest ?? at}`).join(','),
  };
}

const ELSEWHERE = 'a server elsewhere';

function readEntry(entry: string, flag: string): ServedDecoder {
  const [, name = '', value = ''] = ENTRY.exec(entry) ?? [];
  if (!LIKE_ADDRESS.test(value)) return { name, manifest: value };
  return { name, address: ADDRESS.parse(value, `${flag} ${name}`) };
}
