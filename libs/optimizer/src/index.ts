export { AdamW, type AdamWOptions, type AdamWState, type StepOptions, type StepResult } from './adamw.ts';
export { type ArenaOptions, type ArrayKind, type ParameterSpec } from './arena-layout.ts';
export { defaultDecay } from './default-decay.ts';
export { clipScale, globalNorm, gradientSquares } from './gradient-norm.ts';
export { ParameterArena, type ArenaBucket, type ArenaSlice, type FloatTensors } from './parameter-arena.ts';
export { warmupConstant, warmupCosine, type WarmupCosineOptions } from './schedule.ts';
