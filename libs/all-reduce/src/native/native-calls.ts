import koffi from 'koffi';

/**
 * Functions of the C library. Nothing here is checked. Addresses of programs have 47 bits on x64, at most 52 on arm64: a number
 * holds them.
 */
export interface NativeCalls {
  /** Address of the array's first element; good while the array is neither garbage nor transferred. */
  addressOf(array: ArrayBufferView): number;
  copy(into: number, from: number, bytes: number): void;
  /** Bytes of the pieces that memory is mapped in. */
  readonly pageBytes: number;
  /** Maps a file over `address`, from `offset` on. False when the system refuses. All are multiples of `pageBytes`. */
  mapFile(address: number, bytes: number, fileDescriptor: number, offset?: number): boolean;
  /** Puts ordinary memory of zeros over `address`, letting go of what was mapped. */
  unmap(address: number, bytes: number): boolean;
  /**
   * Puts ordinary memory with the same contents over `address`, letting go of what was mapped: whoever reads sees the
   * contents all the time; what is written meanwhile may be lost. False when the system refuses; then nothing has changed.
   */
  replace(address: number, bytes: number): boolean;
  /** Takes the file's pages now, so that touching them later cannot fail. False when there is no room. */
  reserve(fileDescriptor: number, start: number, bytes: number): boolean;
  /** Sleeps while the word is `seen`, at most so long. */
  futexWait(address: number, seen: number, milliseconds: number): void;
  futexWake(address: number): void;
  /** Lets another thread that is ready have this core. */
  yieldCore(): void;
  /** Logical processors that the calling thread may run on, ascending; empty where the system does not say. */
  processors(): number[];
  /** Lets a thread, and those that it starts from now on, run on these logical processors alone. False when refused. */
  bindThread(thread: number, processors: readonly number[]): boolean;
  /** Another number for an open file; −1 when the system has none left. */
  duplicate(fileDescriptor: number): number;
  close(fileDescriptor: number): void;
  /**
   * Moves bytes that can be moved at once: how many, {@link END} where the other side has ended or broken the connection,
   * {@link LATER} where nothing can be moved now.
   */
  receive(fileDescriptor: number, address: number, bytes: number): number;
  /** As `receive`; `more` says that more bytes follow at once, which may share their packet. */
  send(fileDescriptor: number, address: number, bytes: number, more: boolean): number;
  /** Bytes that the system keeps of what is sent and not yet received, instead of as many as it sees fit. */
  limitSending(fileDescriptor: number, bytes: number): void;
  /** Sleeps until one of the sockets can do what is asked, at most so long. */
  awaitSockets(wanted: readonly SocketWish[], milliseconds: number): void;
}

/** A socket that is waited for. */
export interface SocketWish {
  readonly fileDescriptor: number;
  readonly wants: 'receive' | 'send';
}

/** No bytes will ever move again. */
export const END = -1;
/** No bytes can move now. */
export const LATER = -2;

// mman.h, futex.h and the kernel's table of calls.
const PROT_READ_WRITE = 0x1 | 0x2;
const MAP_SHARED_FIXED = 0x01 | 0x10;
const MAP_PRIVATE_ANONYMOUS = 0x02 | 0x20;
const MAP_PRIVATE_FIXED_ANONYMOUS = MAP_PRIVATE_ANONYMOUS | 0x10;
const MREMAP_MAYMOVE_FIXED = 0x1 | 0x2;
const FUTEX_WAIT = 0;
const FUTEX_WAKE = 1;
const EVERYBODY = 0x7fffffff;
const FUTEX_CALL: Partial<Record<string, number>> = { x64: 202, arm64: 98 };

// socket.h, poll.h and errno.h.
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MSG_MORE = 0x8000;
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const POLLIN = 1;
const POLLOUT = 4;
const EINTR = 4;
const EAGAIN = 11;

/** A bit for each logical processor: 8192 of them, the most that Linux is built for. */
const PROCESSOR_SET_BYTES = 1024;

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
  const memcpy = bind<(into: number, from: number, bytes: number) => void>('memcpy', 'void', [
    ...['uintptr_t', 'uintptr_t', 'size_t'],
  ]);
  const mmap = bind<
    (address: number, bytes: number, protection: number, flags: number, fd: number, offset: number) => bigint | number
  >('mmap', 'intptr_t', ['uintptr_t', 'size_t', 'int', 'int', 'int', 'int64_t']);
  const mremap = bind<(from: number, fromBytes: number, bytes: number, flags: number, into: number) => bigint | number>(
    'mremap',
    'intptr_t',
    ['uintptr_t', 'size_t', 'size_t', 'int', 'uintptr_t'],
  );
  const munmap = bind<(address: number, bytes: number) => number>('munmap', 'int', ['uintptr_t', 'size_t']);
  const fallocate = bind<(fd: number, mode: number, start: number, bytes: number) => number>('fallocate', 'int', [
    ...['int', 'int', 'int64_t', 'int64_t'],
  ]);
  const syscall = bind<
    (call: number, address: number, operation: number, value: number, timeout: number, a: number, b: number) => number
  >('syscall', 'long', ['long', 'uintptr_t', 'int', 'uint32_t', 'uintptr_t', 'uintptr_t', 'uint32_t']);
  const plain = <F>(name: string): F => bind<F>(name, 'int', ['int']);
  const [dup, close] = [plain<(fd: number) => number>('dup'), plain<(fd: number) => number>('close')];
  const yieldCore = bind<() => number>('sched_yield', 'int', []);
  type Move = (fd: number, address: number, bytes: number, flags: number) => number | bigint;
  const move = (name: string): Move => bind<Move>(name, 'intptr_t', ['int', 'uintptr_t', 'size_t', 'int']);
  const [recv, send] = [move('recv'), move('send')];
  const poll = bind<(list: number, count: number, ms: number) => number>('poll', 'int', ['uintptr_t', 'ulong', 'int']);
  const setOption = bind<(fd: number, level: number, name: number, value: number, bytes: number) => number>(
    'setsockopt',
    'int',
    ['int', 'int', 'int', 'uintptr_t', 'uint32_t'],
  );
  // A buffer stays where it is; asking where takes longer than a small call. A memory that grows gets another buffer.
  const bases = new WeakMap<ArrayBufferLike, number>();
  const addressOf = (array: ArrayBufferView): number => {
    const { buffer } = array; // a small array lies inside V8's moving heap until its buffer is asked for
    let base = bases.get(buffer);
    if (base === undefined) bases.set(buffer, (base = Number(koffi.address(new Uint8Array(buffer)))));
    return base + array.byteOffset;
  };
  let pollList = new Int32Array(64); // struct pollfd: descriptor, two 16-bit masks
  const optionValue = new Int32Array(2);
  const optionAddress = addressOf(optionValue);
  const moved = (count: number): number => {
    if (count >= 0) return count;
    const reason = koffi.errno();
    return reason === EAGAIN || reason === EINTR ? LATER : END;
  };
  type ProcessorSetCall = (thread: number, bytes: number, set: number) => number;
  const processorSetCall = (name: string): ProcessorSetCall =>
    bind<ProcessorSetCall>(name, 'int', ['int', 'size_t', 'uintptr_t']);
  const [getProcessors, setProcessors] = [processorSetCall('sched_getaffinity'), processorSetCall('sched_setaffinity')];
  const processorSet = new Uint8Array(PROCESSOR_SET_BYTES); // a bit for each, least significant first
  const processorSetAddress = addressOf(processorSet);
  const timeout = new BigInt64Array(2); // struct timespec: seconds, nanoseconds
  const timeoutAddress = addressOf(timeout);
  return {
    addressOf,
    copy: memcpy,
    pageBytes: bind<() => number>('getpagesize', 'int', [])(),
    mapFile: (address, bytes, fd, offset = 0) =>
      Number(mmap(address, bytes, PROT_READ_WRITE, MAP_SHARED_FIXED, fd, offset)) !== -1,
    unmap: (address, bytes) => Number(mmap(address, bytes, PROT_READ_WRITE, MAP_PRIVATE_FIXED_ANONYMOUS, -1, 0)) !== -1,
    replace: (address, bytes) => {
      const fresh = Number(mmap(0, bytes, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0));
      if (fresh === -1) return false;
      memcpy(fresh, address, bytes);
      if (Number(mremap(fresh, bytes, bytes, MREMAP_MAYMOVE_FIXED, address)) !== -1) return true;
      munmap(fresh, bytes);
      return false;
    },
    reserve: (fd, start, bytes) => fallocate(fd, 0, start, bytes) === 0,
    futexWait: (address, seen, milliseconds) => {
      timeout[0] = BigInt(Math.floor(milliseconds / 1000));
      timeout[1] = BigInt(Math.floor((milliseconds % 1000) * 1e6));
      syscall(futexCall, address, FUTEX_WAIT, seen >>> 0, timeoutAddress, 0, 0);
    },
    futexWake: (address) => {
      syscall(futexCall, address, FUTEX_WAKE, EVERYBODY, 0, 0, 0);
    },
    yieldCore: () => void yieldCore(),
    processors: () => {
      processorSet.fill(0);
      if (getProcessors(0, PROCESSOR_SET_BYTES, processorSetAddress) !== 0) return [];
      const numbers = Array.from({ length: PROCESSOR_SET_BYTES * 8 }, (_, number) => number);
      return numbers.filter((number) => (processorSet[number >> 3]! >> (number & 7)) & 1);
    },
    bindThread: (thread, processors) => {
      processorSet.fill(0);
      for (const number of processors) processorSet[number >> 3]! |= 1 << (number & 7);
      return setProcessors(thread, PROCESSOR_SET_BYTES, processorSetAddress) === 0;
    },
    duplicate: dup,
    close: (fd) => void close(fd),
    receive: (fd, address, bytes) => {
      const count = moved(Number(recv(fd, address, bytes, MSG_DONTWAIT)));
      return count === 0 && bytes > 0 ? END : count;
    },
    send: (fd, address, bytes, more) =>
      moved(Number(send(fd, address, bytes, MSG_DONTWAIT | MSG_NOSIGNAL | (more ? MSG_MORE : 0)))),
    limitSending: (fd, bytes) => {
      optionValue[0] = bytes;
      setOption(fd, SOL_SOCKET, SO_SNDBUF, optionAddress, 4);
    },
    awaitSockets: (wanted, milliseconds) => {
      if (pollList.length < 2 * wanted.length) pollList = new Int32Array(4 * wanted.length);
      for (const [i, { fileDescriptor, wants }] of wanted.entries()) {
        pollList[2 * i] = fileDescriptor;
        pollList[2 * i + 1] = wants === 'receive' ? POLLIN : POLLOUT;
      }
      poll(addressOf(pollList), wanted.length, milliseconds);
    },
  };
}
