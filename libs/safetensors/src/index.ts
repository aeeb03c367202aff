export { toBfloat16, toFloat16, toFloat32 } from './convert.ts';
export { bfloat16ToFloat32, float16ToFloat32, float32ToBfloat16, float32ToFloat16 } from './half-precision.ts';
export type { TensorEntry } from './header.ts';
export { openSafetensors, readSafetensors, SafetensorsFile } from './reader.ts';
export { writeSafetensors, writeSafetensorsFrom, type TensorSource } from './writer.ts';
