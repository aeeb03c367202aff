export { openTorchCheckpoint, TorchCheckpoint, type CheckpointFormat } from './checkpoint.ts';
export {
  GlobalName,
  PickleDict,
  PickleObject,
  PickleSet,
  PickleTuple,
  StorageReference,
  TensorReference,
  type PickleValue,
} from './pickle-value.ts';
export { stateDict, type StateDict } from './state-dict.ts';
export { writeTorchCheckpoint, type TorchSource, type WriteTorchOptions } from './write-checkpoint.ts';
