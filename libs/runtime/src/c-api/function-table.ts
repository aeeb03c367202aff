import koffi from 'koffi';

/** An address; `null` is C's NULL. */
export type Pointer = bigint | null;

/** The C API version whose table is asked for; every function below is older. */
export const API_VERSION = 17;

// `OrtApi` in onnxruntime_c_api.h is one struct of function pointers that only ever grows at its end, so a function's place
// is fixed for good. The indices were counted over the struct's declarations in the header of version 1.29 with comments
// and preprocessor lines removed, and agree with the offsets that ONNX Runtime asserts at compile time about itself
// (ReleaseCustomOpDomain 101, ReleaseModelMetadata 118, ReleaseAvailableProviders 126, ReleaseArenaCfg 157).
const P = 'void *';
const SIGNATURES = {
  getErrorCode: [1, 'int', [P]],
  getErrorMessage: [2, 'str', [P]],
  createEnv: [3, P, ['int', 'str', P]],
  createSessionFromArray: [8, P, [P, P, 'size_t', P, P]],
  run: [9, P, [P, P, P, P, 'size_t', P, 'size_t', P]],
  createSessionOptions: [10, P, [P]],
  enableProfiling: [14, P, [P, process.platform === 'win32' ? 'str16' : 'str']],
  disableMemPattern: [17, P, [P]],
  setSessionGraphOptimizationLevel: [23, P, [P, 'int']],
  setIntraOpNumThreads: [24, P, [P, 'int']],
  sessionGetInputCount: [30, P, [P, P]],
  sessionGetOutputCount: [31, P, [P, P]],
  sessionGetInputTypeInfo: [33, P, [P, 'size_t', P]],
  sessionGetOutputTypeInfo: [34, P, [P, 'size_t', P]],
  sessionGetInputName: [36, P, [P, 'size_t', P, P]],
  sessionGetOutputName: [37, P, [P, 'size_t', P, P]],
  createRunOptions: [39, P, [P]],
  runOptionsSetTerminate: [46, P, [P]],
  runOptionsUnsetTerminate: [47, P, [P]],
  createTensorWithDataAsOrtValue: [49, P, [P, P, 'size_t', P, 'size_t', 'int', P]],
  getTensorMutableData: [51, P, [P, P]],
  castTypeInfoToTensorInfo: [55, P, [P, P]],
  getOnnxTypeFromTypeInfo: [56, P, [P, P]],
  getTensorElementType: [60, P, [P, P]],
  getDimensionsCount: [61, P, [P, P]],
  getDimensions: [62, P, [P, P, 'size_t']],
  getSymbolicDimensions: [63, P, [P, P, 'size_t']],
  getTensorTypeAndShape: [65, P, [P, P]],
  createCpuMemoryInfo: [69, P, ['int', 'int', P]],
  allocatorFree: [76, P, [P, P]],
  getAllocatorWithDefaultOptions: [78, P, [P]],
  releaseStatus: [93, 'void', [P]],
  releaseSession: [95, 'void', [P]],
  releaseValue: [96, 'void', [P]],
  releaseRunOptions: [97, 'void', [P]],
  releaseTypeInfo: [98, 'void', [P]],
  releaseTensorTypeAndShapeInfo: [99, 'void', [P]],
  releaseSessionOptions: [100, 'void', [P]],
  getAvailableProviders: [125, P, [P, P]],
  releaseAvailableProviders: [126, P, [P, 'int']],
  addSessionConfigEntry: [130, P, [P, 'str', 'str']],
  createAndRegisterAllocator: [144, P, [P, P, P]],
  appendExecutionProviderCuda: [204, P, [P, P]],
  createCudaProviderOptions: [205, P, [P]],
  releaseCudaProviderOptions: [208, 'void', [P]],
  appendExecutionProvider: [216, P, [P, 'str', P, P, 'size_t']],
} as const satisfies Record<string, readonly [number, string, readonly string[]]>;

type Argument<T> = T extends 'int' | 'size_t' ? number : T extends 'str' | 'str16' ? string : Pointer;
type Arguments<T extends readonly string[]> = { -readonly [I in keyof T]: Argument<T[I]> };
type Result<T> = T extends 'int' ? number : T extends 'str' ? string : T extends 'void' ? void : Pointer;

/** A C function: called as it is it runs on this thread, `async` on a thread of libuv's pool. */
export interface NativeFunction<A extends readonly unknown[], R> {
  (...args: A): R;
  async(...args: [...A, (error: Error | null, result: R) => void]): void;
}

/** The functions of the C API that this library uses, under their names in lower camel case. */
export type OrtApi = {
  readonly [N in keyof typeof SIGNATURES]: NativeFunction<
    Arguments<(typeof SIGNATURES)[N][2]>,
    Result<(typeof SIGNATURES)[N][1]>
  >;
};

/** Binds every function of the table at `address` (a `const OrtApi *`). */
export function bindFunctionTable(address: Pointer): OrtApi {
  const entries = Object.entries(SIGNATURES).map(([name, [index, result, parameters]]) => {
    const pointer: unknown = koffi.decode(address, index * koffi.sizeof('void *'), 'void *');
    return [name, koffi.decode(pointer, koffi.proto(result, [...parameters]))] as const;
  });
  return Object.fromEntries(entries) as unknown as OrtApi;
}
