// The types of tensors in a GGUF file that are read here: their number in the file and the size of a block (ggml-common.h).

interface TensorType {
  /** Number in the file. */
  readonly id: number;
  /** Values of a block; rows consist of whole blocks. */
  readonly blockValues: number;
  readonly blockBytes: number;
}

export const ggufTensorTypes = {
  F32: { id: 0, blockValues: 1, blockBytes: 4 },
  F16: { id: 1, blockValues: 1, blockBytes: 2 },
  BF16: { id: 30, blockValues: 1, blockBytes: 2 },
  Q4_0: { id: 2, blockValues: 32, blockBytes: 18 },
  Q4_1: { id: 3, blockValues: 32, blockBytes: 20 },
  Q5_0: { id: 6, blockValues: 32, blockBytes: 22 },
  Q5_1: { id: 7, blockValues: 32, blockBytes: 24 },
  Q8_0: { id: 8, blockValues: 32, blockBytes: 34 },
  Q4_K: { id: 12, blockValues: 256, blockBytes: 144 },
  Q5_K: { id: 13, blockValues: 256, blockBytes: 176 },
  Q6_K: { id: 14, blockValues: 256, blockBytes: 210 },
} as const satisfies Readonly<Record<string, TensorType>>;

export type GgufTensorType = keyof typeof ggufTensorTypes;

const byId = new Map<number, GgufTensorType>(
  Object.entries(ggufTensorTypes).map(([name, { id }]) => [id, name as GgufTensorType]),
);

export function ggufTensorType(id: number): GgufTensorType | undefined {
  return byId.get(id);
}

/** Types that files hold and that are refused here, by their number: for messages. */
export const unsupportedTypes: ReadonlyMap<number, string> = new Map([
  [9, 'Q8_1'],
  [10, 'Q2_K'],
  [11, 'Q3_K'],
  [15, 'Q8_K'],
  [16, 'IQ2_XXS'],
  [17, 'IQ2_XS'],
  [18, 'IQ3_XXS'],
  [19, 'IQ1_S'],
  [20, 'IQ4_NL'],
  [21, 'IQ3_S'],
  [22, 'IQ2_S'],
  [23, 'IQ4_XS'],
  [24, 'I8'],
  [25, 'I16'],
  [26, 'I32'],
  [27, 'I64'],
  [28, 'F64'],
  [29, 'IQ1_M'],
  [34, 'TQ1_0'],
  [35, 'TQ2_0'],
  [39, 'MXFP4'],
]);

/** Bytes of `values` values that fill whole blocks. */
export function ggufBytes(type: GgufTensorType, values: number): number {
  const { blockValues, blockBytes } = ggufTensorTypes[type];
  return (values / blockValues) * blockBytes;
}
