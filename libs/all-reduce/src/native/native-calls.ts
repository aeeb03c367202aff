import koffi from 'koffi';

/** Functions of the C library. Addresses are bigint; nothing here is checked. */
export interface NativeCalls {
  /** Address of the array's first element; good while the array is neither garbage nor transferred. */
  addressOf(array: ArrayBufferView): bigint;
  copy(into: bigint, from: bigint, bytes: number): void;
  /** Maps a file's start over `address`. False when the system refuses. */
  mapFile(address: bigint, bytes: number, fileDescriptor: number): boolean;
  /** Puts ordinary memory of zeros over `address`, letting go of what was mapped. */
  unmap(address: bigint, bytes: number): boolean;
  /** Takes the file's pages now, so that touching them later cannot fail. False when there is no room. */
  reserve(fileDescriptor: number, start: number, bytes: number): boolean;
  /** Sleeps while the word is `seen`, at most so long. */
  futexWait(address: bigint, seen: number, milliseconds: number): void;
  futexWake(address: bigint): void;
}

// mman.h, futex.h and the kernel's table of calls.
const PROT_READ_WRITE = 0x1 | 0x2;
const MAP_SHARED_FIXED = 0x01 | 0x10;
const MAP_PRIVATE_FIXED_ANONYMOUS = 0x02 | 0x10 | 0x20;
const FUTEX_WAIT = 0;
const FUTEX_WAKE = 1;
const EVERYBODY = 0x7fffffff;
const FUTEX_CALL: Partial<Record<string, number>> = { x64: 202, arm64: 98 };

// What libs/runtime needs of koffi: stacks of native calls on other threads, fixed at its first use in a thread.
const STACK_BYTES = 8 * 2 ** 20;

let calls: NativeCalls | undefined | null = null;

/**
 * The C library of this process, once per thread; undefined where koffi does not load or the system is not Linux on
 * x64 or arm64: then ranks use sockets and tensors are copied by JavaScript.
 */
export function nativeCalls(): NativeCalls | undefined {
  if (calls === null) {
    try {
      calls = load();
    } catch {
      calls = undefined;
    }
  }
  return calls;
}

function load(): NativeCalls | undefined {
  const futexCall = FUTEX_CALL[process.arch];
  if (process.platform !== 'linux' || futexCall === undefined) return undefined;
  if ((koffi.config().async_stack_size ?? 0) < STACK_BYTES) koffi.config({ async_stack_size: STACK_BYTES });
  const library = koffi.load(null);
  const bind = <F>(name: string, result: string, parameters: readonly string[]): F =>
    library.func(name, result, [...parameters]) as unknown as F;
  const memcpy = bind<(into: bigint, from: bigint, bytes: number) => void>('memcpy', 'void', [
    ...['uintptr_t', 'uintptr_t', 'size_t'],
  ]);
  const mmap = bind<
    (address: bigint, bytes: number, protection: number, flags: number, fd: number, offset: number) => bigint | number
  >('mmap', 'intptr_t', ['uintptr_t', 'size_t', 'int', 'int', 'int', 'int64_t']);
  const fallocate = bind<(fd: number, mode: number, start: number, bytes: number) => number>('fallocate', 'int', [
    ...['int', 'int', 'int64_t', 'int64_t'],
  ]);
  const syscall = bind<
    (call: number, address: bigint, operation: number, value: number, timeout: bigint, a: number, b: number) => number
  >('syscall', 'long', ['long', 'uintptr_t', 'int', 'uint32_t', 'uintptr_t', 'uintptr_t', 'uint32_t']);
  const timeout = new BigInt64Array(2); // struct timespec: seconds, nanoseconds
  const timeoutAddress: bigint = koffi.address(timeout.buffer);
  return {
    addressOf: (array) => {
      void array.buffer; // small arrays live inside V8's moving heap until somebody asks for their buffer
      return koffi.address(array);
    },
    copy: memcpy,
    mapFile: (address, bytes, fd) => Number(mmap(address, bytes, PROT_READ_WRITE, MAP_SHARED_FIXED, fd, 0)) !== -1,
    unmap: (address, bytes) => Number(mmap(address, bytes, PROT_READ_WRITE, MAP_PRIVATE_FIXED_ANONYMOUS, -1, 0)) !== -1,
    reserve: (fd, start, bytes) => fallocate(fd, 0, start, bytes) === 0,
    futexWait: (address, seen, milliseconds) => {
      timeout[0] = BigInt(Math.floor(milliseconds / 1000));
      timeout[1] = BigInt(Math.floor((milliseconds % 1000) * 1e6));
      syscall(futexCall, address, FUTEX_WAIT, seen >>> 0, timeoutAddress, 0, 0);
    },
    futexWake: (address) => {
      syscall(futexCall, address, FUTEX_WAKE, EVERYBODY, 0n, 0, 0);
    },
  };
}
