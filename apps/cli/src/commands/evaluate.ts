import { MAX_GUIDANCE, MAX_REQUEST_CANDIDATES, MAX_TEMPERATURE, MAX_VOCABULARY_SIZE } from '@clip-gen/generation';
import { Command, Option } from 'commander';
import { readConfig } from '../config.ts';
import { evaluateModel, type Evaluation } from '../evaluation/evaluate-model.ts';
import { interruptible } from '../interruption.ts';
import { decimal, integer } from '../number-options.ts';
import { startCountLine } from '../terminal/count-line.ts';

interface EvaluateFlags {
  readonly data: string;
  readonly model?: string;
  readonly pictures: number;
  readonly retrieval: number;
  readonly prompts: number;
  readonly candidates: number;
  readonly seed: number;
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly guidance?: number;
  readonly threads?: number;
  readonly json?: boolean;
}

const MAX_COUNT = 1_000_000;

/** `clip-gen evaluate --data <folder>`. */
export function evaluateCommand(): Command {
  const count = (flags: string, text: string, value: number, most = MAX_COUNT): Option =>
    new Option(flags, text).argParser(integer(1, most)).default(value);
  return new Command('evaluate')
    .description('Measure a model on the emoji data set')
    .requiredOption('--data <folder>', 'the data set: train/, heldout/ and names.json')
    .option('--model <folder>', 'a model: clip/, vqgan/ and gpt/ (default: the emoji model that comes along)')
    .addOption(count('--prompts <count>', 'common emoji names to generate', 100))
    .addOption(
      count('--candidates <count>', 'pictures for each prompt, of which CLIP takes one', 8, MAX_REQUEST_CANDIDATES),
    )
    .addOption(count('--pictures <count>', 'held-out pictures to rebuild, at most', 2000))
    .addOption(count('--retrieval <count>', 'pictures and captions to match', 100))
    .addOption(
      new Option('--seed <integer>', 'decides which names and pictures, and every token')
        .argParser(integer(0, Number.MAX_SAFE_INTEGER))
        .default(0),
    )
    .addOption(
      new Option('--temperature <number>', "default: the model's, as in generate").argParser(
        decimal(0, MAX_TEMPERATURE),
      ),
    )
    .addOption(new Option('--top-k <count>', '0 = all; the same default').argParser(integer(0, MAX_VOCABULARY_SIZE)))
    .addOption(new Option('--top-p <share>', 'the same default').argParser(decimal(0, 1)))
    .addOption(new Option('--guidance <number>', 'the same default').argParser(decimal(0, MAX_GUIDANCE)))
    .addOption(new Option('--threads <count>', 'default: the processor cores').argParser(integer(1, 1024)))
    .option('--json', 'print one JSON object instead of a table')
    .addHelpText('after', HELP)
    .action(runEvaluate);
}

const HELP = `
Examples:
  clip-gen evaluate --data data/emoji
  clip-gen evaluate --data data/emoji --model my-model --guidance 3 --json

The prompt check draws a picture for each of 100 common emoji names; a picture counts when CLIP finds its own name nearer
than the 99 others. They are drawn as generate draws them, --candidates apart: by the model's generation.json and the flags.`;

async function runEvaluate(flags: EvaluateFlags): Promise<void> {
  const { candidates, temperature, topK, topP, guidance } = flags;
  const line = startCountLine();
  try {
    const request = {
      ...flags,
      model: flags.model ?? readConfig().modelFolder,
      sampling: { candidates, temperature, topK, topP, guidance },
    };
    const found = await interruptible((signal) => evaluateModel(request, line.update, signal));
    line.stop();
    process.stdout.write(flags.json ? `${JSON.stringify(found, null, 2)}\n` : table(found));
  } finally {
    line.stop();
  }
}

function table(found: Evaluation): string {
  const share = ({ hits, of }: Evaluation['promptCheck']): string => `${hits} of ${of}`;
  const { tokenCrossEntropy } = found;
  const { guidance, temperature, topK, topP } = found.sampling;
  const rows: readonly (readonly [string, string])[] = [
    [`reconstruction PSNR, ${found.pictures} held-out pictures`, `${found.reconstructionPsnr.toFixed(2)} dB`],
    ...(found.previewPsnr
      ? ([
          ['preview PSNR, to them', `${found.previewPsnr.original.toFixed(2)} dB`],
          ["preview PSNR, to the VQGAN's pictures", `${found.previewPsnr.vqgan.toFixed(2)} dB`],
        ] as const)
      : []),
    ['codes in use', `${found.usedCodes} of ${found.codebookSize}`],
    ['token perplexity', found.tokenPerplexity.toFixed(1)],
    [
      'token cross-entropy, held out',
      `${tokenCrossEntropy.toFixed(3)} nats (${Math.exp(tokenCrossEntropy).toFixed(1)})`,
    ],
    ['picture to caption, held out', share(found.retrievalHeldout)],
    ['picture to caption, train', share(found.retrievalTrain)],
    ['prompts whose picture is nearest', share(found.promptCheck)],
    ['mean score of those pictures', found.promptScore.toFixed(3)],
    ['drawn with', `guidance ${guidance}, temperature ${temperature}, top-k ${topK}, top-p ${topP}`],
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, value]) => `${name.padEnd(width)}  ${value}\n`).join('');
}
