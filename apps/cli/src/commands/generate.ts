import {
  MAX_GUIDANCE,
  MAX_REQUEST_CANDIDATES,
  MAX_TEMPERATURE,
  MAX_VOCABULARY_SIZE,
  MODEL_DECODERS,
  REQUEST_DEFAULTS,
} from '@clip-gen/generation';
import { Command, Option } from 'commander';
import { decimal, integer } from '../number-options.ts';
import { FORMAT_NAMES } from '../output-files.ts';
import { runGenerate, SAVED_KERNELS, type GenerateFlags } from '../run-generate.ts';

/** Of the service's contract, too. */
const MAX_PARTIAL_IMAGES = 16;

/** `clip-gen generate <prompt>`. */
export function generateCommand(): Command {
  const { candidates, temperature, topK, topP, guidance } = REQUEST_DEFAULTS;
  return new Command('generate')
    .description('Make pictures from a description')
    .argument('<prompt...>', 'what the picture shows, in quotes or not')
    .addOption(
      new Option('-n, --n <count>', 'pictures to keep: the best of the candidates; several come with a contact sheet')
        .argParser(integer(1, MAX_REQUEST_CANDIDATES))
        .default(1),
    )
    .addOption(
      new Option(
        '--candidates <count>',
        `pictures to draw and choose from (default: the model's, else ${candidates}; at least -n)`,
      ).argParser(integer(1, MAX_REQUEST_CANDIDATES)),
    )
    .addOption(
      new Option('--seed <integer>', 'the same seed gives the same pictures (default: random, printed)').argParser(
        integer(0, Number.MAX_SAFE_INTEGER),
      ),
    )
    .addOption(
      new Option(
        '--temperature <number>',
        `lower is plainer, higher is wilder; 0 takes the likeliest (default: the model's, else ${temperature})`,
      ).argParser(decimal(0, MAX_TEMPERATURE)),
    )
    .addOption(
      new Option(
        '--top-k <count>',
        `draw from the likeliest tokens only; 0 = all (default: the model's, else ${topK})`,
      ).argParser(integer(0, MAX_VOCABULARY_SIZE)),
    )
    .addOption(
      new Option(
        '--top-p <share>',
        `draw from the likeliest tokens that make up this share (default: the model's, else ${topP})`,
      ).argParser(decimal(0, 1)),
    )
    .addOption(
      new Option(
        '--guidance <number>',
        `above 1: nearer to the prompt, less varied, twice the time (default: the model's, else ${guidance})`,
      ).argParser(decimal(0, MAX_GUIDANCE)),
    )
    .option('--model <folder>', 'a model: clip/, vqgan/ and gpt/ (default: the emoji model that comes along)')
    .addOption(
      new Option('--decoder <name>', 'what makes pictures of tokens: preview/ of the model is quick and less exact')
        .choices(MODEL_DECODERS)
        .default('vqgan' as const),
    )
    .addOption(
      new Option(
        '--partial-images <count>',
        'pictures of the first candidate while it is drawn, as NAME-partial-1.png, …',
      )
        .argParser(integer(0, MAX_PARTIAL_IMAGES))
        .default(0),
    )
    .addOption(
      new Option(
        '--partial-decoder <name>',
        "what makes them (default: preview where the model has one and --decoder is vqgan, else --decoder's)",
      ).choices(MODEL_DECODERS),
    )
    .option('--out <file>', 'where to save; .png, .jpg or .webp (default: a name from the prompt)')
    .addOption(new Option('--format <name>', 'when --out does not tell').choices(FORMAT_NAMES))
    .addOption(
      new Option(
        '--size <pixels>',
        "side of the saved pictures (default: the model's, enlarged to 256 or more)",
      ).argParser(integer(8, 4096)),
    )
    .addOption(
      new Option('--kernel <name>', 'how pictures are enlarged').choices(SAVED_KERNELS).default('cubic' as const),
    )
    .addOption(new Option('--threads <count>', 'default: the processor cores').argParser(integer(1, 1024)))
    .option('--preview', 'show the picture in the terminal, with coloured blocks if need be (default: where it can)')
    .option('--no-preview', 'do not')
    .addHelpText('after', HELP)
    .action(async (words: string[], flags: GenerateFlags) => runGenerate(words.join(' '), flags));
}

const HELP = `
Examples:
  clip-gen generate "a slice of pizza"                 a-slice-of-pizza.png, the best of 16
  clip-gen generate a red apple -n 4 --out apple.png   apple-1.png … apple-4.png, and all on apple.png
  clip-gen generate "a blue car" --seed 7              the same picture every time
  clip-gen generate sunflower --candidates 64          slower, better chosen
  clip-gen generate rocket --guidance 3                nearer to the words
  clip-gen generate "a dog" --model my-model           a model of your own
  clip-gen generate "a dog" --decoder preview          the small decoder: sooner, less exact

Each line printed is a file, and how well CLIP finds that it fits the prompt (cosine, higher is better).
Exit code: 0 done, 1 failed, 2 the command line or a file cannot be used, 130 interrupted.`;
