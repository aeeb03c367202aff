import { BLOCK_FORMATS, type QuantizedBits } from '@clip-gen/quantization';
import { Command, Option } from 'commander';
import { interruptible } from '../interruption.ts';
import { integer } from '../number-options.ts';
import { startCountLine } from '../terminal/count-line.ts';
import { QUANTIZED_PARTS, quantizeModel, type QuantizedModel, type QuantizedPart } from './quantize-model.ts';

interface QuantizeFlags {
  readonly model: string;
  readonly out: string;
  readonly bits: `${QuantizedBits}`;
  readonly part: QuantizedPart;
  readonly data?: string;
  readonly calibrate?: string;
  readonly pictures: number;
  readonly threads?: number;
  readonly json?: boolean;
}

/** `clip-gen quantize --model <folder> --out <folder>`. */
export function quantizeCommand(): Command {
  return new Command('quantize')
    .description('Store a model in 8 or 4 bits a weight: smaller, and faster to draw with')
    .requiredOption('--model <folder>', "a model (clip/, vqgan/ and gpt/), or a transformer's own folder")
    .requiredOption('--out <folder>', 'where the quantised model goes; the other networks are copied beside it')
    .addOption(
      new Option('--bits <count>', 'of a weight; 4 is smaller and less exact')
        .choices(['8', '4'])
        .default('8' as const),
    )
    .addOption(
      new Option('--part <network>', 'which network: the transformer, which each token reads whole')
        .choices(QUANTIZED_PARTS)
        .default('gpt' as const),
    )
    .option('--data <folder>', 'pictures to compare the two models on, any depth; best ones that it was not trained on')
    .option('--calibrate <folder>', 'pictures to round for, such as those it was trained on: better in 4 bits, slower')
    .addOption(new Option('--pictures <count>', 'of each folder, at most').argParser(integer(1, 1_000_000)).default(64))
    .addOption(new Option('--threads <count>', 'default: the processor cores').argParser(integer(1, 1024)))
    .option('--json', 'print one JSON object')
    .addHelpText('after', HELP)
    .action(runQuantize);
}

const HELP = `
Examples:
  clip-gen quantize --model my-model --out my-model-8bit
  clip-gen quantize --model my-model --out my-model-4bit --bits 4 --data photos/heldout
  clip-gen generate "a red apple" --model my-model-8bit         as any other model; serve and evaluate too

What it does: the matrices of the transformer's layers become integers of 8 bits with a scale for each ${BLOCK_FORMATS[8].blockSize} weights of a
row, or of 4 bits with one for each ${BLOCK_FORMATS[4].blockSize}, each scale chosen for the least squared error; the tables become float16. Drawing
a token reads every weight once, so fewer bytes are less time, most of all for large models and few pictures at once.
Then 16 grids are drawn to see how large keys and values become, so that drawing can keep them in 8 bits too; what they
are rounded to lies in cache.safetensors. A model without that file keeps them in float32.

What it costs: 8 bits are as good as float32 in all but the last digits; 4 bits are a little worse. --data tells how much
(of the weights alone: keys and values in 8 bits change predictions about as little as weights in 8 bits do):
  cross-entropy   nats a token for the pictures' own tokens; lower is better, compare the two
  divergence      nats a token by which the two models' predictions differ (Kullback-Leibler); 0 is the same model
  same likeliest  share of places where both find the same token the likeliest

A seed gives other pictures than with the float32 model: where two tokens are nearly as likely, a draw may differ.
The float32 model stays as it is; train it, export it, and quantise it again.`;

async function runQuantize(flags: QuantizeFlags): Promise<void> {
  const line = startCountLine();
  try {
    const bits = Number(flags.bits) as QuantizedBits;
    const done = await interruptible((signal) => quantizeModel({ ...flags, bits }, line.update, signal));
    line.stop();
    process.stdout.write(flags.json ? `${JSON.stringify(done, null, 2)}\n` : summary(done));
  } finally {
    line.stop();
  }
}

function summary(done: QuantizedModel): string {
  const { out, bits, blockSize, bytesBefore, bytesAfter, agreement } = done;
  const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  const percent = (share: number): string => `${(100 * share).toFixed(2)} %`;
  const smaller = (bytesBefore / bytesAfter).toFixed(2);
  const lines = [
    `${out}: ${done.matrices} matrices in ${bits} bits, blocks of ${blockSize}`,
    `  size            ${mebibytes(bytesBefore)} → ${mebibytes(bytesAfter)}, ${smaller} times smaller`,
    `  weights' error  ${percent(done.relativeError)} of their size; the worst: ${done.worst.name}, ${percent(done.worst.relativeError)}`,
  ];
  if (agreement) {
    const { crossEntropy, divergence, sameLikeliest, pictures, tokens } = agreement;
    const more = crossEntropy.quantized - crossEntropy.original;
    lines.push(
      `  cross-entropy   ${crossEntropy.original.toFixed(4)} → ${crossEntropy.quantized.toFixed(4)} nats (${more < 0 ? '' : '+'}${more.toFixed(4)})`,
      `  divergence      ${divergence.toFixed(5)} nats`,
      `  same likeliest  ${percent(sameLikeliest)} of ${tokens} tokens of ${pictures} pictures`,
    );
  }
  return `${lines.join('\n')}\n`;
}
