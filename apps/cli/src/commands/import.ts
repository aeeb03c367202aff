import { IMPORTED_MODELS, importCheckpoint, type ImportedModel, type ImportReport } from '@clip-gen/interchange';
import { Argument, Command, Option } from 'commander';
import { integer } from '../number-options.ts';

interface ImportFlags {
  readonly out: string;
  readonly config?: string;
  readonly linear?: string;
  readonly heads?: number;
  readonly activation?: 'quickGelu' | 'gelu';
  readonly imageSize?: number;
  readonly dtype: 'keep' | 'float32' | 'float16';
  readonly allowUnknown?: boolean;
  readonly json?: boolean;
}

/** `clip-gen import <model> <file> --out <folder>`. */
export function importCommand(): Command {
  return new Command('import')
    .description("Bring another program's checkpoint: PyTorch or safetensors to a model folder")
    .addArgument(new Argument('<model>', 'what the file holds').choices(IMPORTED_MODELS))
    .argument('<file>', '.pt, .pth, .bin or .ckpt of PyTorch, or .safetensors')
    .requiredOption('--out <folder>', 'where model.safetensors and config.json go')
    .option(
      '--config <file>',
      "what the weights do not tell: taming's YAML, or the JSON of Hugging Face, open_clip or clip-gen",
    )
    .option('--linear <file>', "LPIPS' linear heads, when <file> is torchvision's VGG16")
    .addOption(
      new Option('--heads <count>', 'attention heads (default: width / 64, as in the published models)').argParser(
        integer(1, 256),
      ),
    )
    .addOption(new Option('--activation <name>', "of a CLIP's perceptrons").choices(['quickGelu', 'gelu']))
    .addOption(
      new Option(
        '--image-size <pixels>',
        "side of the pictures of a VQGAN or preview (default: the YAML's, or 256)",
      ).argParser(integer(1, 8192)),
    )
    .addOption(
      new Option('--dtype <name>', 'how weights are stored; keep: float16 stays, all else is float32')
        .choices(['keep', 'float32', 'float16'])
        .default('keep'),
    )
    .option('--allow-unknown', 'leave tensors out that nothing is known of')
    .option('--json', 'print one JSON object')
    .addHelpText('after', HELP)
    .action(async (model: ImportedModel, file: string, flags: ImportFlags) => {
      const { out, json = false, ...options } = flags;
      const report = await importCheckpoint(model, file, out, options);
      process.stdout.write(json ? `${JSON.stringify({ out, ...report }, null, 2)}\n` : summary(out, report));
    });
}

const HELP = `
Examples:
  clip-gen import clip  ViT-B-32.pt --out my-model/clip                     OpenAI's archive
  clip-gen import vqgan vqgan_coco.pt --out my-model/vqgan                  clip-gen's own releases
  clip-gen import gpt   gpt_coco.pt --out my-model/gpt
  clip-gen import preview preview.pt --image-size 64 --out my-model/preview
  clip-gen import vqgan last.ckpt --config model.yaml --out taming/vqgan    taming-transformers
  clip-gen import lpips vgg16.pth --linear vgg_lpips.pth --out lpips        for train vqgan

Nothing in a file is run: a pickle that names anything but tensors is refused. Sizes come from the shapes; names and
shapes are checked against the model before anything is written.`;

/** Names in one line. */
const SHOWN = 4;

function summary(out: string, report: ImportReport): string {
  const { layout, format, tensors, bytes, ignored, unknown, notes } = report;
  const listed = (names: readonly string[]): string =>
    names.slice(0, SHOWN).join(', ') + (names.length > SHOWN ? ` and ${names.length - SHOWN} more` : '');
  return [
    `${out}: ${layout} (${format}), ${tensors} tensors, ${(bytes / 2 ** 20).toFixed(1)} MiB`,
    ...(ignored.length > 0 ? [`  not needed: ${listed(ignored)}`] : []),
    ...(unknown.length > 0 ? [`  unknown, left out: ${listed(unknown)}`] : []),
    ...notes.map((note) => `  ${note}`),
    '',
  ].join('\n');
}
