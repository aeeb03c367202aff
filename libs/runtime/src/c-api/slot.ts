import type { Tensor, TensorData } from '@clip-gen/tensor';
import koffi from 'koffi';
import { elementTypeNumber, type RuntimeDType } from '../element-type.ts';
import { checkTensor } from '../signature.ts';
import type { TensorInfo } from '../session.ts';
import type { OrtLibrary } from './library.ts';
import type { Pointer } from './function-table.ts';
import { cell, check } from './status.ts';

/** An `OrtValue` over a caller's buffer, which it keeps alive. */
export interface Binding {
  readonly data: TensorData;
  readonly shape: readonly number[];
  readonly value: bigint;
  /** Runs in flight that use it. */
  users: number;
  /** No longer the slot's: freed when the last user has ended. */
  retired: boolean;
}

const MAX_RANK = 64;
const dims = new BigInt64Array(MAX_RANK);
const dimsAddress: bigint = koffi.address(dims.buffer);
// An address for tensors without elements, whose own may be null.
const nothing = new BigUint64Array(1);
const nothingAddress: bigint = koffi.address(nothing.buffer);

/**
 * One input or output of a session. It remembers the value made for the buffer that it saw last: a training step feeds the
 * same hundreds of buffers every time, and then neither validation nor native calls are repeated.
 */
export class Slot {
  readonly hasNamedSizes: boolean;
  #last: Binding | undefined;

  constructor(
    readonly role: 'input' | 'output',
    readonly info: TensorInfo,
    /** Address of the name as a C string. */
    readonly nameAddress: bigint,
    readonly library: OrtLibrary,
  ) {
    this.hasNamedSizes = info.shape.some((size) => typeof size === 'string');
  }

  /**
   * The binding of `tensor` with one more user; give it back with `release`.
   *
   * @throws invalid_argument when the tensor is not what the graph declares
   */
  acquire(tensor: Tensor): Binding {
    const last = this.#last;
    if (last !== undefined && last.data === tensor.data && this.#unchanged(last, tensor)) {
      last.users++;
      return last;
    }
    const binding = this.acquireOnce(tensor);
    binding.retired = false;
    if (last) this.#retire(last);
    this.#last = binding;
    return binding;
  }

  /** As `acquire`, but not remembered: freed, and its buffer let go, with its one user. */
  acquireOnce(tensor: Tensor): Binding {
    checkTensor(this.role, this.info, tensor);
    const value = createValue(this.library, tensor.dtype as RuntimeDType, tensor);
    return { data: tensor.data, shape: [...tensor.shape], value, users: 1, retired: true };
  }

  /** Takes one user from a binding; with the last, one that is not remembered is freed. */
  release(binding: Binding): void {
    binding.users--;
    if (binding.retired && binding.users === 0) this.library.api.releaseValue(binding.value);
  }

  /** Frees what is remembered. */
  close(): void {
    if (this.#last) this.#retire(this.#last);
    this.#last = undefined;
  }

  // A buffer that was transferred or has grown has length 0 from then on.
  #unchanged(last: Binding, tensor: Tensor): boolean {
    const { shape } = tensor;
    if (tensor.dtype !== this.info.dtype || shape.length !== last.shape.length) return false;
    let count = 1;
    for (let i = 0; i < shape.length; i++) {
      const size = shape[i] as number;
      if (size !== last.shape[i]) return false;
      count *= size;
    }
    return tensor.data.length === count;
  }

  #retire(binding: Binding): void {
    binding.retired = true;
    if (binding.users === 0) this.library.api.releaseValue(binding.value);
  }
}

/** An `OrtValue` over `data` as it lies. */
function createValue({ api, memoryInfo }: OrtLibrary, dtype: RuntimeDType, { data, shape }: Tensor): bigint {
  for (let i = 0; i < shape.length; i++) dims[i] = BigInt(shape[i] as number);
  const status = api.createTensorWithDataAsOrtValue(
    memoryInfo,
    addressOf(data),
    data.byteLength,
    dimsAddress,
    shape.length,
    elementTypeNumber(dtype),
    cell.address,
  );
  check(api, status);
  return cell.pointer() as bigint;
}

/** Where the elements lie. The address is good while `data` is neither garbage nor transferred. */
function addressOf(data: TensorData): Pointer {
  if (data.byteLength === 0) return nothingAddress;
  // V8 keeps arrays of up to 64 bytes inside its moving heap until somebody asks for their ArrayBuffer; from then on their
  // elements stay where they are, outside of it.
  void data.buffer;
  return koffi.address(data);
}
