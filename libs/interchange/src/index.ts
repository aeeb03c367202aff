export { EXPORTED_GRAPHS, type ExportedGraph } from './exported-graphs.ts';
export { exportOnnx, type OnnxOptions, type OnnxReport } from './export-onnx.ts';
export { exportTorch, type TorchReport } from './export-torch.ts';
export {
  importCheckpoint,
  IMPORTED_MODELS,
  type ImportedModel,
  type ImportOptions,
  type ImportReport,
} from './import-checkpoint.ts';
export { openModelFolder, type ModelConfig, type ModelFolder } from './model-folder.ts';
