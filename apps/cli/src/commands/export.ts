import { extname } from 'node:path';
import { invalidArgument } from '@clip-gen/errors';
import { EXPORTED_GRAPHS, exportOnnx, exportTorch, openModelFolder, type ExportedGraph } from '@clip-gen/interchange';
import { Command, Option } from 'commander';

interface ExportFlags {
  readonly out: string;
  readonly graph?: ExportedGraph;
  readonly external?: boolean;
}

/** `clip-gen export <folder> --out <file>`. */
export function exportCommand(): Command {
  return new Command('export')
    .description('Write a network as ONNX or as a PyTorch checkpoint')
    .argument('<folder>', "a network's folder, such as my-model/vqgan")
    .requiredOption('--out <file>', '.onnx, or .pt for PyTorch')
    .addOption(
      new Option('--graph <name>', 'which part of the network, for .onnx (default: the first of its own)').choices(
        Object.values(EXPORTED_GRAPHS).flat(),
      ),
    )
    .option('--external', 'for .onnx: weights in FILE.onnx.data beside the graph; needed from 2 GB on')
    .addHelpText('after', HELP)
    .action(runExport);
}

const HELP = `
Examples:
  clip-gen export my-model/vqgan --out decoder.onnx                   tokens to pixels; --graph encoder: the way back
  clip-gen export my-model/clip  --out text.onnx --graph text         or image
  clip-gen export my-model/gpt   --out gpt.onnx --external            logits of a whole grid; --graph step: one token
  clip-gen export my-model/preview --out preview.onnx                 the small decoder, likewise tokens to pixels
  clip-gen export my-model/gpt   --out gpt.pt                         torch.load('gpt.pt', weights_only=True)['model']

The graphs have opset 18 and operators of ONNX Runtime's own (com.microsoft): ONNX Runtime runs them.`;

async function runExport(folder: string, { out, graph, external }: ExportFlags): Promise<void> {
  const ending = extname(out).toLowerCase();
  const torch = ending === '.pt' || ending === '.pth';
  if (!torch && ending !== '.onnx') throw invalidArgument('--out', 'a .onnx, .pt or .pth file', out);
  if (torch && (graph !== undefined || external === true)) {
    throw invalidArgument('--out', 'a .onnx file for --graph and --external', out);
  }
  const model = await openModelFolder(folder);
  try {
    if (torch) {
      const { entry, tensors, bytes, notes } = await exportTorch(model, out);
      const where = entry === undefined ? 'a state dict' : `a state dict under ${JSON.stringify(entry)}`;
      const lines = [`${out}: ${where}, ${tensors} tensors, ${mebibytes(bytes)}`, ...notes.map((note) => `  ${note}`)];
      process.stdout.write(`${lines.join('\n')}\n`);
    } else {
      const report = await exportOnnx(model, out, { graph, external });
      process.stdout.write(`${report.files.join(', ')}: ${report.graph}, ${mebibytes(report.bytes)}\n`);
    }
  } finally {
    await model.weights.close();
  }
}

function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}
