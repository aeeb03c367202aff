/** A tensor as the header spells it, before anything about it is believed. */
export interface RawEntry {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly dataOffsets: readonly number[];
}

/** A header as its text has it, before it is held against the file. */
export interface RawHeader {
  readonly metadata: ReadonlyMap<string, string>;
  readonly entries: readonly RawEntry[];
}

/** Most sizes a shape may have, which is NumPy's own limit. */
const MAX_RANK = 64;

/**
 * Reads the JSON of a safetensors header, and no other JSON: `{"name": {"dtype", "shape", "data_offsets"}, …,
 * "__metadata__": {"key": "value"}}`. A general parser would silently keep the last of two equal names, nest as deep as
 * the file likes, and make names such as `__proto__` special; none of these can be written down here.
 *
 * @throws SyntaxError with the position in the text
 */
export function parseHeaderText(text: string): RawHeader {
  return new HeaderText(text).header();
}

class HeaderText {
  #at = 0;
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  header(): RawHeader {
    if (this.#text[0] !== '{') throw this.#expected('{');
    let metadata: ReadonlyMap<string, string> | undefined;
    const entries: RawEntry[] = [];
    this.#object((name) => {
      if (name === '__metadata__') metadata = this.#metadata();
      else entries.push(this.#entry(name));
    });
    this.#skipSpace();
    if (this.#at !== this.#text.length) throw this.#expected('the end of the header');
    return { metadata: metadata ?? new Map(), entries };
  }

  #metadata(): ReadonlyMap<string, string> {
    const metadata = new Map<string, string>();
    this.#object((key) => metadata.set(key, this.#string()));
    return metadata;
  }

  #entry(name: string): RawEntry {
    let dtype: string | undefined;
    let shape: number[] | undefined;
    let dataOffsets: number[] | undefined;
    this.#object((key) => {
      if (key === 'dtype') dtype = this.#string();
      else if (key === 'shape') shape = this.#integers();
      else if (key === 'data_offsets') dataOffsets = this.#integers();
      else throw this.#expected('dtype, shape or data_offsets');
    });
    if (dtype === undefined || shape === undefined || dataOffsets === undefined) {
      throw this.#expected('dtype, shape and data_offsets');
    }
    return { name, dtype, shape, dataOffsets };
  }

  /** `{"key": value, …}` without equal keys; `value` must read what follows the colon. */
  #object(value: (key: string) => void): void {
    const keys = new Set<string>();
    this.#expect('{');
    if (this.#accept('}')) return;
    do {
      const key = this.#string();
      if (keys.has(key)) throw this.#expected(`one ${JSON.stringify(key.slice(0, 80))}, not two,`);
      keys.add(key);
      this.#expect(':');
      value(key);
    } while (this.#accept(','));
    this.#expect('}');
  }

  #integers(): number[] {
    const values: number[] = [];
    this.#expect('[');
    if (this.#accept(']')) return values;
    do {
      if (values.length === MAX_RANK) throw this.#expected(`at most ${MAX_RANK} numbers`);
      values.push(this.#integer());
    } while (this.#accept(','));
    this.#expect(']');
    return values;
  }

  #integer(): number {
    this.#skipSpace();
    const token = /[^\s,\]}]{0,24}/y;
    token.lastIndex = this.#at;
    const digits = token.exec(this.#text)?.[0] ?? '';
    const value = Number(digits);
    if (!/^(0|[1-9][0-9]*)$/.test(digits) || !Number.isSafeInteger(value)) {
      throw this.#expected('an integer from 0 to 2^53 - 1');
    }
    this.#at += digits.length;
    return value;
  }

  #string(): string {
    this.#skipSpace();
    const start = this.#at;
    if (this.#text[start] !== '"') throw this.#expected('a string');
    let end = start + 1;
    while (end < this.#text.length && this.#text[end] !== '"') end += this.#text[end] === '\\' ? 2 : 1;
    let value: unknown;
    try {
      value = JSON.parse(this.#text.slice(start, end + 1));
    } catch {
      throw this.#expected('a well-formed string');
    }
    if (typeof value !== 'string') throw this.#expected('a string');
    this.#at = end + 1;
    return value;
  }

  #expect(character: string): void {
    if (!this.#accept(character)) throw this.#expected(character);
  }

  #accept(character: string): boolean {
    this.#skipSpace();
    if (this.#text[this.#at] !== character) return false;
    this.#at++;
    return true;
  }

  #skipSpace(): void {
    for (;;) {
      const character = this.#text[this.#at];
      if (character !== ' ' && character !== '\n' && character !== '\t' && character !== '\r') return;
      this.#at++;
    }
  }

  #expected(what: string): SyntaxError {
    const found = this.#text.slice(this.#at, this.#at + 20);
    return new SyntaxError(`expected ${what} at character ${this.#at}; found ${JSON.stringify(found)}`);
  }
}
