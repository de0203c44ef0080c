// Many short texts in one buffer: a vocabulary has hundreds of thousands, and few of them are ever looked at one by one.

export class TextTable implements Iterable<string> {
  /** UTF-8. Text i is bytes [begins[i], ends[i]). */
  readonly bytes: Uint8Array;
  readonly begins: Uint32Array;
  readonly ends: Uint32Array;
  readonly #buffer: Buffer;

  /** The caller has checked that each text is UTF-8 (`isUtf8`). */
  constructor(bytes: Uint8Array, begins: Uint32Array, ends: Uint32Array) {
    this.bytes = bytes;
    this.begins = begins;
    this.ends = ends;
    this.#buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  static of(texts: readonly string[]): TextTable {
    const parts = texts.map((text) => Buffer.from(text));
    const [begins, ends] = [new Uint32Array(parts.length), new Uint32Array(parts.length)];
    let at = 0;
    for (const [index, part] of parts.entries()) {
      begins[index] = at;
      ends[index] = at += part.length;
    }
    return new TextTable(Buffer.concat(parts), begins, ends);
  }

  get length(): number {
    return this.begins.length;
  }

  /** Undefined beyond the end. */
  at(index: number): string | undefined {
    const begin = this.begins[index];
    return begin === undefined ? undefined : this.#buffer.toString('utf8', begin, this.ends[index]);
  }

  *[Symbol.iterator](): Generator<string> {
    for (let index = 0; index < this.length; index += 1) yield this.at(index)!;
  }
}

/** Whether bytes [begin, end) are UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF (RFC 3629, section 4). */
export function isUtf8(bytes: Uint8Array, begin: number, end: number): boolean {
  for (let at = begin; at < end;) {
    const first = bytes[at]!;
    at += 1;
    if (first < 0x80) continue;
    if (first < 0xc2 || first > 0xf4) return false;
    const more = first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
    if (at + more > end) return false;
    const second = bytes[at]!;
    const least = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
    const most = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
    if (second < least || second > most) return false;
    for (let next = at + 1; next < at + more; next += 1) if ((bytes[next]! & 0xc0) !== 0x80) return false;
    at += more;
  }
  return true;
}
