import { CONTAINER_COST, MAX_PICKLE_OBJECTS } from './limits.ts';
import { PickleBytes } from './pickle-bytes.ts';
import { PickleError, PickleTooLarge } from './pickle-error.ts';
import { littleEndianInteger, MAX_LONG_BYTES, quoted, textFloat, textInteger } from './pickle-scalars.ts';
import { GlobalName, PickleDict, PickleObject, PickleSet, PickleTuple, type PickleValue } from './pickle-value.ts';

/** What the names in a pickle mean. Every method may refuse by throwing. */
export interface PickleMeaning {
  /** The pickle names a class or function. */
  name(global: GlobalName): PickleValue;
  /** It calls one. */
  call(callee: GlobalName, args: readonly PickleValue[]): PickleValue;
  /** It makes an object of a class without calling its `__init__`. */
  make(type: GlobalName): PickleValue;
  /** It asks for what lies outside, by a key: a storage. */
  outside(id: PickleValue): PickleValue;
}

/**
 * Unfolds one pickle (Python's `pickletools`, protocols 0 to 5) to plain data. What it names, calls and makes goes
 * through `meaning`; nothing else happens.
 *
 * @param start where the pickle begins in `bytes`
 * @returns the value, and where the pickle ends
 * @throws PickleError, PickleEnd, PickleTooLarge, and what `meaning` throws
 */
export function readPickle(bytes: Uint8Array, meaning: PickleMeaning, start = 0): { value: PickleValue; end: number } {
  const source = new PickleBytes(bytes, start);
  const value = new Machine(source, meaning).run();
  return { value, end: source.position };
}

class Machine {
  readonly #source: PickleBytes;
  readonly #meaning: PickleMeaning;
  #stack: PickleValue[] = [];
  /** The stacks below each mark. */
  readonly #below: PickleValue[][] = [];
  readonly #memo = new Map<number, PickleValue>();
  #budget = MAX_PICKLE_OBJECTS;

  constructor(source: PickleBytes, meaning: PickleMeaning) {
    this.#source = source;
    this.#meaning = meaning;
  }

  run(): PickleValue {
    for (;;) {
      const at = this.#source.position;
      const code = this.#source.u8();
      if (code === 0x2e /* STOP */) {
        const value = this.#pop();
        if (this.#stack.length > 0 || this.#below.length > 0) throw new PickleError('values are left at its end');
        return value;
      }
      if (!this.#scalar(code) && !this.#container(code) && !this.#memory(code) && !this.#meaningful(code)) {
        throw new PickleError(`byte ${at} is no instruction that is read here (0x${code.toString(16)})`);
      }
    }
  }

  /** Instructions that push one plain value. */
  #scalar(code: number): boolean {
    const source = this.#source;
    switch (code) {
      case 0x4e: // NONE
        return this.#push(null);
      case 0x88: // NEWTRUE
        return this.#push(true);
      case 0x89: // NEWFALSE
        return this.#push(false);
      case 0x49: // INT
      case 0x4c: // LONG
        return this.#push(textInteger(source.line()));
      case 0x4a: // BININT
        return this.#push(source.i32());
      case 0x4b: // BININT1
        return this.#push(source.u8());
      case 0x4d: // BININT2
        return this.#push(source.u16());
      case 0x8a: // LONG1
        return this.#push(littleEndianInteger(source.take(source.u8())));
      case 0x8b: {
        // LONG4
        const length = source.i32();
        if (length < 0 || length > MAX_LONG_BYTES) throw new PickleError(`an integer has ${length} bytes`);
        return this.#push(littleEndianInteger(source.take(length)));
      }
      case 0x46: // FLOAT
        return this.#push(textFloat(source.line()));
      case 0x47: // BINFLOAT
        return this.#push(source.f64());
      case 0x53: // STRING
        return this.#push(quoted(source.line()));
      case 0x54: // BINSTRING
        return this.#push(source.latin1(source.u32()));
      case 0x55: // SHORT_BINSTRING
        return this.#push(source.latin1(source.u8()));
      case 0x56: // UNICODE
        return this.#push(source.line());
      case 0x58: // BINUNICODE
        return this.#push(source.utf8(source.u32()));
      case 0x8c: // SHORT_BINUNICODE
        return this.#push(source.utf8(source.u8()));
      case 0x8d: // BINUNICODE8
        return this.#push(source.utf8(source.u64()));
      case 0x42: // BINBYTES
        return this.#push(source.take(source.u32()));
      case 0x43: // SHORT_BINBYTES
        return this.#push(source.take(source.u8()));
      case 0x8e: // BINBYTES8
      case 0x96: // BYTEARRAY8
        return this.#push(source.take(source.u64()));
      default:
        return false;
    }
  }

  /** Instructions that make or fill tuples, lists, dictionaries and sets. */
  #container(code: number): boolean {
    switch (code) {
      case 0x29: // EMPTY_TUPLE
        return this.#push(new PickleTuple([]));
      case 0x85: // TUPLE1
      case 0x86: // TUPLE2
      case 0x87: // TUPLE3
        return this.#push(new PickleTuple(this.#popMany(code - 0x84)));
      case 0x74: // TUPLE
        return this.#push(new PickleTuple(this.#popToMark()));
      case 0x5d: // EMPTY_LIST
        return this.#push([]);
      case 0x6c: // LIST
        return this.#push(this.#popToMark());
      case 0x61: // APPEND
        return this.#append([this.#pop()]);
      case 0x65: // APPENDS
        return this.#append(this.#popToMark());
      case 0x7d: // EMPTY_DICT
        return this.#pushNew(new PickleDict());
      case 0x64: {
        // DICT
        const items = this.#popToMark();
        this.#pushNew(new PickleDict());
        return this.#setItems(items);
      }
      case 0x73: // SETITEM
        return this.#setItems(this.#popMany(2));
      case 0x75: // SETITEMS
        return this.#setItems(this.#popToMark());
      case 0x8f: // EMPTY_SET
        return this.#pushNew(new PickleSet());
      case 0x90: // ADDITEMS
        return this.#append(this.#popToMark());
      case 0x91: {
        // FROZENSET
        const items = this.#popToMark();
        this.#pushNew(new PickleSet());
        return this.#append(items);
      }
      default:
        return false;
    }
  }

  /** Instructions that move values about. */
  #memory(code: number): boolean {
    const source = this.#source;
    switch (code) {
      case 0x80: {
        // PROTO
        const protocol = source.u8();
        if (protocol > 5) throw new PickleError(`its protocol must be at most 5; got ${protocol}`);
        return true;
      }
      case 0x95: // FRAME
        source.u64();
        return true;
      case 0x28: // MARK
        this.#spend(1);
        this.#below.push(this.#stack);
        this.#stack = [];
        return true;
      case 0x30: // POP, of a mark too
        if (this.#stack.length === 0) this.#popToMark();
        else this.#pop();
        return true;
      case 0x31: // POP_MARK
        this.#popToMark();
        return true;
      case 0x32: // DUP
        return this.#push(this.#top());
      case 0x67: // GET
        return this.#recall(this.#textIndex());
      case 0x68: // BINGET
        return this.#recall(source.u8());
      case 0x6a: // LONG_BINGET
        return this.#recall(source.u32());
      case 0x70: // PUT
        return this.#remember(this.#textIndex());
      case 0x71: // BINPUT
        return this.#remember(source.u8());
      case 0x72: // LONG_BINPUT
        return this.#remember(source.u32());
      case 0x94: // MEMOIZE
        return this.#remember(this.#memo.size);
      default:
        return false;
    }
  }

  /** Instructions by which Python would run code: here each is a question to `meaning`. */
  #meaningful(code: number): boolean {
    switch (code) {
      case 0x63: // GLOBAL
        return this.#push(this.#meaning.name(this.#lineGlobal()));
      case 0x93: {
        // STACK_GLOBAL
        const [module, name] = this.#popMany(2);
        if (typeof module !== 'string' || typeof name !== 'string') throw new PickleError('a global has no name');
        return this.#push(this.#meaning.name(new GlobalName(module, name)));
      }
      case 0x52: {
        // REDUCE
        const args = this.#popTuple();
        return this.#pushNew(this.#meaning.call(this.#popGlobal(), args));
      }
      case 0x81: // NEWOBJ: arguments of __new__ are not used
        this.#popTuple();
        return this.#pushNew(this.#meaning.make(this.#popGlobal()));
      case 0x92: // NEWOBJ_EX
        this.#popMany(2);
        return this.#pushNew(this.#meaning.make(this.#popGlobal()));
      case 0x69: {
        // INST
        const global = this.#meaning.name(this.#lineGlobal());
        const args = this.#popToMark();
        return this.#pushNew(this.#meaning.call(asGlobal(global), args));
      }
      case 0x6f: {
        // OBJ
        const [type, ...args] = this.#popToMark();
        return this.#pushNew(this.#meaning.call(asGlobal(type), args));
      }
      case 0x62: // BUILD
        return this.#build(this.#pop());
      case 0x50: // PERSID
        return this.#push(this.#meaning.outside(this.#source.line()));
      case 0x51: // BINPERSID
        return this.#push(this.#meaning.outside(this.#pop()));
      default:
        return false;
    }
  }

  /** The state of an object: attributes of what keeps them; an OrderedDict's own attributes are dropped. */
  #build(state: PickleValue): boolean {
    const target = this.#top();
    if (target instanceof PickleObject) {
      if (!target.kept) return true;
      if (!(state instanceof PickleDict))
        throw new PickleError(`${target.type.path} has a state that is no dictionary`);
      for (const [key, value] of state.entries) {
        if (typeof key !== 'string') throw new PickleError(`${target.type.path} has an attribute without a name`);
        this.#spend(1);
        target.attributes.set(key, value);
      }
      return true;
    }
    if (target instanceof PickleDict) return true;
    throw new PickleError('a state is given to a value that has none');
  }

  #append(items: readonly PickleValue[]): boolean {
    const target = this.#top();
    this.#spend(items.length);
    if (Array.isArray(target)) for (const item of items) target.push(item);
    else if (target instanceof PickleSet) for (const item of items) target.items.push(item);
    else if (!(target instanceof PickleObject)) throw new PickleError('items are appended to what is no list');
    return true;
  }

  #setItems(items: readonly PickleValue[]): boolean {
    const target = this.#top();
    if (items.length % 2 !== 0) throw new PickleError('a key has no value');
    this.#spend(items.length);
    if (target instanceof PickleDict) {
      for (let i = 0; i < items.length; i += 2) target.entries.set(items[i]!, items[i + 1]!);
    } else if (!(target instanceof PickleObject)) throw new PickleError('items are set on what is no dictionary');
    return true;
  }

  #push(value: PickleValue): true {
    this.#spend(1);
    this.#stack.push(value);
    return true;
  }

  #pushNew(value: PickleValue): true {
    this.#spend(CONTAINER_COST);
    return this.#push(value);
  }

  #pop(): PickleValue {
    const value = this.#stack.pop();
    if (value === undefined) throw new PickleError('it takes a value that is not there');
    return value;
  }

  #popMany(count: number): PickleValue[] {
    if (this.#stack.length < count) throw new PickleError('it takes a value that is not there');
    return this.#stack.splice(this.#stack.length - count);
  }

  #popToMark(): PickleValue[] {
    const below = this.#below.pop();
    if (!below) throw new PickleError('it returns to a mark that is not there');
    const items = this.#stack;
    this.#stack = below;
    return items;
  }

  #popTuple(): readonly PickleValue[] {
    const args = this.#pop();
    if (!(args instanceof PickleTuple)) throw new PickleError('a call has no tuple of arguments');
    return args.items;
  }

  #popGlobal(): GlobalName {
    return asGlobal(this.#pop());
  }

  #top(): PickleValue {
    const value = this.#stack.at(-1);
    if (value === undefined) throw new PickleError('it takes a value that is not there');
    return value;
  }

  #lineGlobal(): GlobalName {
    const module = this.#source.line();
    return new GlobalName(module, this.#source.line());
  }

  #textIndex(): number {
    const index = Number(this.#source.line());
    if (!Number.isSafeInteger(index) || index < 0) throw new PickleError('a memo has no number');
    return index;
  }

  #recall(index: number): boolean {
    const value = this.#memo.get(index);
    if (value === undefined) throw new PickleError(`memo ${index} is not there`);
    return this.#push(value);
  }

  #remember(index: number): boolean {
    this.#spend(1);
    this.#memo.set(index, this.#top());
    return true;
  }

  #spend(objects: number): void {
    this.#budget -= objects;
    if (this.#budget < 0) throw new PickleTooLarge(`it must have at most ${MAX_PICKLE_OBJECTS} values`);
  }
}

function asGlobal(value: PickleValue | undefined): GlobalName {
  if (value instanceof GlobalName) return value;
  throw new PickleError('it calls what is no function');
}
