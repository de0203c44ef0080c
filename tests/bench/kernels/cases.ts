// Single operations at the shapes of GPT-2: what ours enqueue, what the peer is asked to do, and how much work it is.
import * as kernels from '#kernels/binding.ts';
import type { Device, Tensor } from '#runtime/tensor/main.ts';
import type { Limits } from '../line.ts';

/** What kernels_torch.py understands. */
export type PeerRequest =
  | {
      readonly op: 'forward' | 'input' | 'weight';
      readonly rows: number;
      readonly outputs: number;
      readonly inputs: number;
      readonly copies: number;
    }
  | {
      readonly op: 'attention' | 'attention_backward';
      readonly shape: readonly [sequences: number, length: number, heads: number, size: number];
    }
  | { readonly op: 'adamw'; readonly elements: number };

export interface KernelCase {
  readonly name: string;
  readonly request: PeerRequest;
  /** GFLOP of a call where the limit is fma, GB where it is a bandwidth. */
  readonly work: number;
  readonly limit: keyof Limits;
  /** Enqueues one call; `call` counts them. */
  readonly enqueue: (call: number) => void;
}

const hidden = 768;
const linears = [
  { outputs: 3 * hidden, inputs: hidden },
  { outputs: hidden, inputs: hidden },
  { outputs: 4 * hidden, inputs: hidden },
  { outputs: hidden, inputs: 4 * hidden },
];
/** Rows of decoding: weights come from memory, as in a model, so several copies of them take turns. */
const fewRows = [1, 8] as const;
const manyRows = [64, 256, 1024] as const;
const rotatedBytes = 256 << 20;

/** Cases that share tensors, which `make` gives: of random numbers, and gone with the group. */
export type CaseGroup = (device: Device, make: (shape: readonly number[]) => Tensor) => KernelCase[];

const title = (rows: number, outputs: number, inputs: number) => `${rows} x ${outputs} x ${inputs}`;

type LinearSize = (typeof linears)[number];

const decodeCase =
  (rows: number, { outputs, inputs }: LinearSize): CaseGroup =>
  (device, make) => {
    const bytes = 4 * outputs * inputs;
    const copies = Math.ceil(rotatedBytes / bytes);
    const size = kernels.packedSize(outputs, inputs);
    const [x, w, y] = [make([rows, inputs]), make([outputs, inputs]), make([rows, outputs])];
    const packed = Array.from({ length: copies }, () => make([size]));
    for (const copy of packed) kernels.ops.linear_pack(device.stream, w.handle, copy.handle);
    const isRow = rows === 1;
    return [
      {
        name: `forward ${title(rows, outputs, inputs)}`,
        request: { op: 'forward', rows, outputs, inputs, copies },
        work: isRow ? bytes / 1e9 : (2 * rows * outputs * inputs) / 1e9,
        limit: isRow ? 'read' : 'fma',
        enqueue: (call) =>
          kernels.ops.linear_packed_forward(device.stream, x.handle, packed[call % copies]!.handle, null, y.handle, 16, 8),
      },
    ];
  };

const trainingCases =
  (rows: number, { outputs, inputs }: LinearSize): CaseGroup =>
  (device, make) => {
    const [x, w, dy] = [make([rows, inputs]), make([outputs, inputs]), make([rows, outputs])];
    const [y, dx, dw] = [make([rows, outputs]), make([rows, inputs]), make([outputs, inputs])];
    const { stream } = device;
    const { ops } = kernels;
    const length = Math.min(rows, 256);
    const enqueues = {
      forward: () => ops.linear_forward(stream, x.handle, w.handle, null, y.handle, 16, 8),
      input: () => ops.linear_backward_input(stream, dy.handle, w.handle, null, null, null, null, dx.handle, 16, 8, 0),
      weight: () => ops.linear_backward_weight(stream, dy.handle, x.handle, dw.handle, null, length, 8, 0),
    };
    const words = { forward: 'forward', input: 'input gradient', weight: 'weight gradient' };
    return (['forward', 'input', 'weight'] as const).map((op) => ({
      name: `${words[op]} ${title(rows, outputs, inputs)}`,
      request: { op, rows, outputs, inputs, copies: 1 },
      work: (2 * rows * outputs * inputs) / 1e9,
      limit: 'fma',
      enqueue: enqueues[op],
    }));
  };

export const gemmCases: readonly CaseGroup[] = [
  ...fewRows.flatMap((rows) => linears.map((size) => decodeCase(rows, size))),
  ...manyRows.flatMap((rows) => linears.map((size) => trainingCases(rows, size))),
];

/** Sequences, length, heads, size of a head. */
const attentions = [
  [1, 1024, 12, 64],
  [4, 64, 12, 64],
  [8, 256, 12, 64],
  [16, 256, 6, 64],
] as const;

/** Products for each query row, key that it sees and element of a head: two forward, five backward. */
const [forwardOperations, backwardOperations] = [4, 10];

export const attentionCases: readonly CaseGroup[] = attentions.map((shape) => ({ stream }, make) => {
  const [sequences, length, heads, size] = shape;
  const row = [sequences * length, heads * size];
  const [q, k, v, out, dout] = [make(row), make(row), make(row), make(row), make(row)];
  const [dq, dk, dv] = [make(row), make(row), make(row)];
  const lse = make([sequences * length, heads]);
  const scale = 1 / Math.sqrt(size);
  const products = (sequences * heads * size * length * (length + 1)) / 2 / 1e9;
  const forward = () =>
    kernels.ops.attention_forward(stream, q.handle, k.handle, v.handle, out.handle, lse.handle, null, length, heads, scale, 0, 0);
  forward();
  const words = `${sequences} x ${length}, ${heads} heads of ${size}`;
  return [
    {
      name: `forward ${words}`,
      request: { op: 'attention', shape },
      work: forwardOperations * products,
      limit: 'fma',
      enqueue: forward,
    },
    {
      name: `backward ${words}`,
      request: { op: 'attention_backward', shape },
      work: backwardOperations * products,
      limit: 'fma',
      enqueue: () =>
        kernels.ops.attention_backward(
          stream,
          dout.handle,
          q.handle,
          k.handle,
          v.handle,
          out.handle,
          lse.handle,
          null,
          dq.handle,
          dk.handle,
          dv.handle,
          length,
          heads,
          scale,
          0,
          0,
        ),
    },
  ];
});

/** Parameters that are one large tensor. Four numbers of each are read and three written. */
const adamwElements = [12 << 20, 48 << 20] as const;
const adamwBytes = 7 * 4;

export const adamwCases: readonly CaseGroup[] = adamwElements.map((elements) => ({ stream }, make) => {
  const lists = Array.from({ length: 4 }, () => Uint32Array.of(make([elements]).handle));
  const [parameters, gradients, first, second] = lists as [Uint32Array, Uint32Array, Uint32Array, Uint32Array];
  return [
    {
      name: `${(elements / 1e6).toFixed(0)} million parameters`,
      request: { op: 'adamw', elements },
      work: (adamwBytes * elements) / 1e9,
      limit: 'copy',
      enqueue: (call) =>
        kernels.ops.adamw(stream, parameters, gradients, first, second, null, 1, 1e-4, 0.9, 0.95, 1e-8, 0.1, call + 10),
    },
  ];
});
