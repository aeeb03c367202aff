/**
 * Regenerates every generated file of the repository, or with `--check` says which are out of date.
 *
 *     npm run codegen            rewrite what differs
 *     npm run codegen:check      exit 1 and name the files that differ, are missing or are left over
 *
 * A new generator is one more entry of `generators`. Generated files are committed, so that a clone runs without this.
 */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import * as allReduce from '../libs/all-reduce/codegen.ts';
import * as clipEmbedding from '../apps/clip-embedding/codegen.ts';
import * as gateway from '../apps/gateway/codegen.ts';
import * as transformerSampler from '../apps/transformer-sampler/codegen.ts';
import * as vqganDecoder from '../apps/vqgan-decoder/codegen.ts';
import * as optimizer from '../libs/optimizer/codegen.ts';
import * as sampling from '../libs/sampling/codegen.ts';
import { withSections, type GeneratedReadme } from './readme-sections.ts';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const run = promisify(execFile);

/** Generated files by their path inside the generator's folder, with `/` between folders. */
type Files = ReadonlyMap<string, Uint8Array>;

interface Generator {
  /** The committed folder, from the repository's root. It holds generated files alone; anything else in it is left over. */
  readonly folder: string;
  /** Makes the folder's whole content. Must not write into `folder`. */
  readonly generate: () => Promise<Files>;
}

const generators: readonly Generator[] = [
  {
    folder: 'libs/onnx-proto/src/generated',
    generate: () =>
      protoMessages('libs/onnx-proto/proto', [
        'outputServices=none',
        // Absent and default are the same to every reader of ONNX, so fields are plain `string`, `bigint`, `number`.
        'disableProto2Optionals=true',
      ]),
  },
  { folder: 'libs/contracts/src/generated', generate: () => services('proto') },
  { folder: 'libs/serving/src/generated', generate: () => services('libs/serving/proto') },
  {
    folder: 'libs/all-reduce/src/rendezvous/generated',
    generate: () =>
      protoMessages('libs/all-reduce/proto', ['outputServices=grpc-js', 'oneof=unions-value', 'useExactTypes=false']),
  },
  allReduce,
  optimizer,
  sampling,
];

/** READMEs with tables of settings and metrics. */
const readmes: readonly GeneratedReadme[] = [
  clipEmbedding.readme,
  gateway.readme,
  transformerSampler.readme,
  vqganDecoder.readme,
];

/** Messages and definitions of gRPC services, and what a server tells of them by reflection. */
async function services(protoFolder: string): Promise<Files> {
  const messages = await protoMessages(protoFolder, [
    'outputServices=nice-grpc',
    'outputServices=generic-definitions',
    'oneof=unions-value', // `{ $case: 'tokens', value }`: a switch over it is checked for completeness
    'useExactTypes=false',
  ]);
  return new Map([...messages, ['descriptor-set.ts', await descriptorSet(protoFolder)]]);
}

/** A module with the serialized google.protobuf.FileDescriptorSet of every .proto file under `protoFolder`. */
async function descriptorSet(protoFolder: string): Promise<Uint8Array> {
  return inTemporaryFolder(async (folder) => {
    const path = join(folder, 'set.binpb');
    await run(join(root, 'node_modules', '.bin', 'buf'), [
      ...['build', protoFolder, '--as-file-descriptor-set', '--exclude-source-info', '-o', path],
    ]);
    const base64 = (await readFile(path)).toString('base64');
    return Buffer.from(
      `// Serialized google.protobuf.FileDescriptorSet, in base64.\nexport const DESCRIPTOR_SET = '${base64}';\n`,
    );
  });
}

/** Compiles every .proto file under `protoFolder` by ts-proto; buf finds the files and resolves their imports. */
async function protoMessages(protoFolder: string, options: readonly string[]): Promise<Files> {
  const opt = [
    'esModuleInterop=true', // named imports, as Node resolves them
    'importSuffix=.ts', // the sources run as they are, without a build
    'forceLong=bigint', // 64-bit offsets and constants past 2^53 stay exact
    'outputJsonMethods=false',
    ...options,
  ];
  return inTemporaryFolder(async (out) => {
    const template = { version: 'v2', plugins: [{ local: 'protoc-gen-ts_proto', out, opt }] };
    const bin = join(root, 'node_modules', '.bin');
    const env = { ...process.env, PATH: `${bin}${delimiter}${process.env['PATH'] ?? ''}` };
    await run(join(bin, 'buf'), ['generate', protoFolder, '--template', JSON.stringify(template)], { cwd: root, env });
    return filesUnder(out);
  });
}

async function inTemporaryFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'codegen-'));
  try {
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Empty when the folder does not exist. */
async function filesUnder(folder: string): Promise<Files> {
  const files = new Map<string, Uint8Array>();
  let entries;
  try {
    entries = await readdir(folder, { recursive: true, withFileTypes: true });
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return files;
    throw cause;
  }
  for (const entry of entries) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    files.set(relative(folder, path).split(sep).join('/'), await readFile(path));
  }
  return files;
}

type State = 'missing' | 'out of date' | 'left over';

/** What stands between the committed folder and the generated files. */
function compare(committed: Files, generated: Files): Map<string, State> {
  const differences = new Map<string, State>();
  for (const [name, bytes] of generated) {
    const before = committed.get(name);
    if (before === undefined) differences.set(name, 'missing');
    else if (Buffer.compare(before, bytes) !== 0) differences.set(name, 'out of date');
  }
  for (const name of committed.keys()) if (!generated.has(name)) differences.set(name, 'left over');
  return differences;
}

/** Brings one folder up to date, or with `check` only reports. Returns one line a difference. */
async function bringUpToDate({ folder, generate }: Generator, check: boolean): Promise<string[]> {
  const generated = await generate();
  const lines: string[] = [];
  for (const [name, state] of compare(await filesUnder(join(root, folder)), generated)) {
    lines.push(`${folder}/${name}: ${state}`);
    if (check) continue;
    const path = join(root, folder, name);
    const bytes = generated.get(name);
    if (bytes === undefined) {
      await rm(path);
    } else {
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, bytes);
    }
  }
  return lines;
}

/** Brings one README up to date, or with `check` only reports. */
async function bringReadmeUpToDate(readme: GeneratedReadme, check: boolean): Promise<string[]> {
  const path = join(root, readme.path);
  const before = await readFile(path, 'utf8');
  const after = await withSections(before, path, readme);
  if (after === before) return [];
  if (!check) await writeFile(path, after);
  return [`${readme.path}: out of date`];
}

const args = process.argv.slice(2);
if (args.some((arg) => arg !== '--check')) {
  console.error(`usage: codegen [--check]; got ${args.join(' ')}`);
  process.exit(2);
}
const check = args.includes('--check');
let differences = 0;
for (const generator of generators) {
  for (const line of await bringUpToDate(generator, check)) {
    differences++;
    console.log(line);
  }
}
for (const readme of readmes) {
  for (const line of await bringReadmeUpToDate(readme, check)) {
    differences++;
    console.log(line);
  }
}
if (check && differences > 0) {
  console.error(
    `${differences} generated file(s) differ from their sources: run npm run codegen and commit the result`,
  );
  process.exitCode = 1;
} else {
  const count = `${generators.length} generated folder(s) and ${readmes.length} README(s)`;
  console.log(`${count} ${check || differences === 0 ? 'up to date' : 'rewritten'}`);
}
