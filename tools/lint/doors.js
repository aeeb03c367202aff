/** One door for each heavy thing: these packages are imported in these folders and nowhere else. */
export const DOORS = [
  { name: 'ONNX Runtime', folders: ['libs/runtime'], packages: ['onnxruntime-node', 'onnxruntime-common'] },
  { name: 'koffi', folders: ['libs/runtime', 'libs/all-reduce'], packages: ['koffi'] },
  { name: 'sharp', folders: ['libs/image', 'tools/emoji'], packages: ['sharp'] },
  { name: 'HTTP', folders: ['apps/gateway'], packages: ['fastify'] },
  { name: 'logs and metrics', folders: ['libs/telemetry'], packages: ['pino', 'pino-pretty', 'prom-client'] },
  {
    name: 'gRPC',
    folders: ['libs/contracts', 'libs/serving', 'libs/all-reduce'],
    packages: ['@grpc/grpc-js', 'nice-grpc', 'nice-grpc-common', 'nice-grpc-client-middleware-retry'],
  },
];

const DEEP = { group: ['@clip-gen/*/*'], message: 'Import the package root; what is not exported there is private.' };

/**
 * The import rules for files of `folder`: closed doors by static import, by `import()` and by `require`.
 *
 * @param {string} [folder] the folder whose own door is open; none for everywhere else
 */
export function importRules(folder) {
  const closed = DOORS.filter(({ folders }) => folder === undefined || !folders.includes(folder));
  const names = closed.flatMap(({ packages }) => packages);
  const pattern = `/^(${names.map((name) => name.replaceAll('/', '\\u002f')).join('|')})($|\\u002f)/`;
  const why = `This package is imported in one place only: ${closed
    .map(({ name, folders }) => `${name} in ${folders.join(', ')}`)
    .join('; ')}.`;
  return {
    restricted: {
      patterns: [
        DEEP,
        ...closed.map(({ name, folders, packages }) => ({
          group: packages.flatMap((id) => [id, `${id}/*`]),
          message: `${name} has one door: ${folders.join(', ')}.`,
        })),
      ],
    },
    syntax: [
      { selector: `ImportExpression[source.value=${pattern}]`, message: why },
      { selector: `CallExpression[callee.name='require'][arguments.0.value=${pattern}]`, message: why },
    ],
  };
}
