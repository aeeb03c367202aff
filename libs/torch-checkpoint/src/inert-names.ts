import type { GlobalName } from './pickle-value.ts';

/**
 * Names that checkpoints carry beside their tensors: settings, counters, paths and the trainer's own notes. They may
 * stand in a file and become marks without content; nothing of them is called. All other names are refused, so that a
 * file which wants to run something is told from one that merely keeps notes.
 */
const FAMILIES = [
  'pytorch_lightning',
  'lightning',
  'lightning_fabric',
  'lightning_utilities',
  'omegaconf',
  'torch.optim',
  'torch.cuda.amp',
  'torch.amp',
  'datetime',
];

const NAMES: ReadonlySet<string> = new Set([
  'argparse.Namespace',
  'types.SimpleNamespace',
  'typing.Any',
  'typing.Union',
  'pathlib.Path',
  'pathlib.PosixPath',
  'pathlib.PurePosixPath',
  'pathlib.WindowsPath',
  'pathlib._local.PosixPath',
  'decimal.Decimal',
  'uuid.UUID',
  'copy_reg._reconstructor',
  'copyreg._reconstructor',
  'collections.defaultdict',
  'collections.Counter',
  'collections.deque',
  'numpy.dtype',
  'numpy.ndarray',
  'numpy.core.multiarray.scalar',
  'numpy.core.multiarray._reconstruct',
  'numpy._core.multiarray.scalar',
  'numpy._core.multiarray._reconstruct',
  'torch.device',
  'torch.layout',
  'torch.strided',
  'torch.preserve_format',
  'torch.contiguous_format',
  'torch.serialization._get_layout',
  'torch.nn.parameter.Parameter',
  'torch.nn.parameter.Buffer',
  'torch.Tensor',
  'torch._tensor.Tensor',
  'torch.torch_version.TorchVersion',
]);

const BUILTINS: ReadonlySet<string> = new Set(
  'bool bytearray bytes complex dict float frozenset int list object set slice str tuple unicode long'.split(' '),
);

/** Whether `global` may stand in a file, as a mark. */
export function isInert({ module, name, path }: GlobalName): boolean {
  if (module === 'builtins' || module === '__builtin__') return BUILTINS.has(name);
  return NAMES.has(path) || FAMILIES.some((family) => module === family || module.startsWith(`${family}.`));
}
