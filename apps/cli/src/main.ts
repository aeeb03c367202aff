import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { readConfig } from './config.ts';
import { reportError, USAGE_EXIT_CODE } from './report-error.ts';

interface LazyCommand {
  readonly summary: string;
  /** Loads the command's code: `generate` does not wait for the trainer's. */
  readonly load: () => Promise<Command>;
  /** Its work matters without a reader: it goes on when stdout's pipe closes. */
  readonly outlivesReader?: true;
}

const COMMANDS: Readonly<Record<string, LazyCommand>> = {
  generate: {
    summary: 'Make pictures from a description',
    load: async () => (await import('./commands/generate.ts')).generateCommand(),
  },
  evaluate: {
    summary: 'Measure a model on the emoji data set',
    load: async () => (await import('./commands/evaluate.ts')).evaluateCommand(),
  },
  serve: {
    summary: 'Serve a model over REST, gRPC and a web page',
    load: async () => (await import('./commands/serve.ts')).serveCommand(),
    outlivesReader: true,
  },
  import: {
    summary: "Bring another program's checkpoint",
    load: async () => (await import('./commands/import.ts')).importCommand(),
  },
  export: {
    summary: 'Write a network as ONNX or for PyTorch',
    load: async () => (await import('./commands/export.ts')).exportCommand(),
  },
  quantize: {
    summary: 'Store a model in 8 or 4 bits a weight: smaller, and faster to draw with',
    load: async () => (await import('./commands/quantize.ts')).quantizeCommand(),
  },
  train: {
    summary: 'Train a network of a model on a folder of pictures',
    load: async () => (await import('@clip-gen/trainer')).trainCommand(),
    outlivesReader: true,
  },
  launch: {
    summary: 'Train on several machines: starts the processes of one of them',
    load: async () => (await import('@clip-gen/trainer')).launchCommand(),
    outlivesReader: true,
  },
};

const HELP = `
Examples:
  clip-gen generate "a slice of pizza"
  clip-gen generate "a blue car" -n 4 --seed 7 --out car.webp
  clip-gen serve --http-address 127.0.0.1:8080
  clip-gen evaluate --data data/emoji
  clip-gen <command> --help`;

/**
 * Runs one command line. Results go to stdout, progress and errors to stderr.
 *
 * @param argv the words after the program's name
 * @returns the exit code: 2 for a command line or input that cannot be used, 1 for a failure, 130 when interrupted;
 * undefined when the command ended well or has set `process.exitCode`
 */
export async function main(argv: readonly string[]): Promise<number | undefined> {
  const { debug } = readConfig();
  const onPipeError = COMMANDS[argv[0] ?? '']?.outlivesReader ? stayQuietly : leaveQuietly;
  process.stdout.off('error', leaveQuietly).off('error', stayQuietly).on('error', onPipeError);
  try {
    const program = await programFor(argv);
    await program.parseAsync(argv, { from: 'user' });
    return undefined;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? undefined : USAGE_EXIT_CODE;
    return reportError(error, debug);
  }
}

/** The program with the command that is called; the others have no more than their line in the help. */
async function programFor(argv: readonly string[]): Promise<Command> {
  const program = new Command('clip-gen')
    .description('Text to pictures by a model that learns from uncaptioned pictures')
    .version(readVersion())
    .helpCommand(false)
    .addHelpText('after', HELP);
  for (const [name, { summary, load }] of Object.entries(COMMANDS)) {
    program.addCommand(name === argv[0] ? await load() : new Command(name).description(summary));
  }
  const prepare = (command: Command): void => {
    command.exitOverride().showSuggestionAfterError().configureOutput({ outputError: writeOneLine });
    command.commands.forEach(prepare);
  };
  prepare(program);
  return program;
}

function readVersion(): string {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

/** Commander's `error: …` with the suggestion on a line of its own, as one line that says where to look. */
function writeOneLine(message: string, write: (text: string) => void): void {
  const line = message
    .trim()
    .replace(/^error: /, '')
    .replace(/\s*\n\s*/g, ' ')
    .replace(/\.$/, '');
  write(`clip-gen: ${line}; see --help\n`);
}

/** `clip-gen … | head` closes the pipe early: that is no failure of ours. */
function leaveQuietly(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE') throw error;
  process.exit(0);
}

/** `clip-gen train … | head`: hours of training are not thrown away for a reader that has gone. */
function stayQuietly(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE') throw error;
}
