// GGUF files byte by byte, so that tests and fuzzing can say what no honest writer would.
import { ggufTensorTypes } from './tensor-types.ts';

type Scalar = { readonly type: number; readonly bytes: Uint8Array };

export interface RawTensor {
  readonly name: string | Uint8Array;
  /** As they stand in the file: innermost first. */
  readonly dims: readonly (number | bigint)[];
  /** What the file says their number is. */
  readonly dimCount?: number;
  readonly type: number;
  readonly offset: number | bigint;
}

export interface RawGguf {
  readonly magic?: string;
  readonly version?: number;
  readonly tensorCount?: number | bigint;
  readonly entryCount?: number | bigint;
  readonly entries?: readonly (readonly [string | Uint8Array, Scalar])[];
  readonly tensors?: readonly RawTensor[];
  /** Bytes of data after the aligned head. */
  readonly dataBytes?: number;
}

/** The bytes of a file. Whatever is not given is right. */
export function rawGguf({ entries = [], tensors = [], dataBytes = 0, ...rest }: RawGguf): Uint8Array<ArrayBuffer> {
  const parts = [
    Buffer.from(rest.magic ?? 'GGUF', 'latin1'),
    u32(rest.version ?? 3),
    u64(rest.tensorCount ?? tensors.length),
    u64(rest.entryCount ?? entries.length),
    ...entries.flatMap(([key, { type, bytes }]) => [string(key), u32(type), bytes]),
    ...tensors.flatMap(({ name, dims, dimCount, type, offset }) => [
      string(name),
      u32(dimCount ?? dims.length),
      ...dims.map(u64),
      u32(type),
      u64(offset),
    ]),
  ];
  const head = Buffer.concat(parts);
  const padding = (32 - (head.length % 32)) % 32;
  return Uint8Array.from(Buffer.concat([head, new Uint8Array(padding + dataBytes)]));
}

export function u32(value: number): Uint8Array {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

export function u64(value: number | bigint): Uint8Array {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

export function string(value: string | Uint8Array): Uint8Array {
  const bytes = Buffer.from(value);
  return Buffer.concat([u64(bytes.length), bytes]);
}

/** Values of metadata by their type. */
export const value = {
  u32: (number: number): Scalar => ({ type: 4, bytes: u32(number) }),
  bool: (byte: number): Scalar => ({ type: 7, bytes: Uint8Array.of(byte) }),
  string: (text: string | Uint8Array): Scalar => ({ type: 8, bytes: string(text) }),
  strings: (...texts: string[]): Scalar => array(8, texts.length, Buffer.concat(texts.map(string))),
};

/** An array that says it has `count` items of `type`, whatever `items` holds. */
export function array(type: number, count: number | bigint, items: Uint8Array): Scalar {
  return { type: 9, bytes: Buffer.concat([u32(type), u64(count), items]) };
}

/** A file with every kind of metadata and a tensor of every type. */
export function everyType(): RawGguf {
  const all = Object.entries(ggufTensorTypes);
  let offset = 0;
  const tensors = all.map(([name, { id, blockValues, blockBytes }]): RawTensor => {
    const tensor = { name: `t.${name}`, dims: [2 * blockValues, 3], type: id, offset };
    offset += Math.ceil((6 * blockBytes) / 32) * 32;
    return tensor;
  });
  const bytesOf = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];
  const scalars = bytesOf.flatMap((bytes, type) =>
    bytes === 0 ? [] : [[`scalar.${type}`, { type, bytes: new Uint8Array(bytes).fill(type === 7 ? 1 : 65) }] as const],
  );
  const arrays = bytesOf.flatMap((bytes, type) =>
    bytes === 0 ? [] : [[`array.${type}`, array(type, 3, new Uint8Array(3 * bytes).fill(1))] as const],
  );
  const entries = [
    ['general.alignment', value.u32(32)] as const,
    ['general.name', value.string('every type')] as const,
    ...scalars,
    ...arrays,
    ['array.8', value.strings('', 'é', 'three')] as const,
  ];
  return { entries, tensors, dataBytes: offset };
}
