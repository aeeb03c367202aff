import { Command, CommanderError } from 'commander';
import { readConfig } from './config.ts';
import { reportError, USAGE_EXIT_CODE } from './report-error.ts';

/** Each command is loaded when it is called: `generate` does not wait for the trainer's code. */
const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  generate: async () => (await import('./commands/generate.ts')).generateCommand(),
  evaluate: async () => (await import('./commands/evaluate.ts')).evaluateCommand(),
  train: async () => (await import('@clip-gen/trainer')).trainCommand(),
};

/**
 * Runs one command line. Results go to stdout, progress and errors to stderr.
 *
 * @param argv the words after the program's name
 * @returns the exit code: 2 for a command line or input that cannot be used, 1 for a failure, 130 when interrupted;
 * undefined when the command ended well or has set `process.exitCode`
 */
export async function main(argv: readonly string[]): Promise<number | undefined> {
  const { debug } = readConfig();
  leaveQuietlyWhenNobodyReads();
  try {
    const program = await programFor(argv);
    await program.parseAsync(argv, { from: 'user' });
    return undefined;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? undefined : USAGE_EXIT_CODE;
    return reportError(error, debug);
  }
}

/** The program with the one command that is called, or with all of them for help. */
async function programFor(argv: readonly string[]): Promise<Command> {
  const program = new Command('clip-gen')
    .description('Text to pictures by a model that learns from uncaptioned pictures')
    .helpCommand(false)
    .addHelpText('after', HELP);
  const called = Object.hasOwn(COMMANDS, argv[0] ?? '') ? [argv[0]!] : Object.keys(COMMANDS);
  for (const name of called) program.addCommand(await COMMANDS[name]!());
  const every = (command: Command): void => {
    command.exitOverride().showSuggestionAfterError().configureOutput({ outputError: writeOneLine });
    command.commands.forEach(every);
  };
  every(program);
  return program;
}

const HELP = `
Examples:
  clip-gen generate "a slice of pizza"
  clip-gen generate "a blue car" -n 4 --seed 7 --out car.webp
  clip-gen evaluate --data data/emoji
  clip-gen <command> --help`;

/** Commander's `error: …` with the suggestion on a line of its own, as one line that says where to look. */
function writeOneLine(message: string, write: (text: string) => void): void {
  const line = message
    .trim()
    .replace(/^error: /, '')
    .replace(/\s*\n\s*/g, ' ');
  write(`clip-gen: ${line}; see clip-gen --help\n`);
}

/** `clip-gen … | head` closes the pipe early: that is no failure of ours. */
function leaveQuietlyWhenNobodyReads(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
}
