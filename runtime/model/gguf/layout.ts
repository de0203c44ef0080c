// Which tensors of a GGUF file hold which parameters: the names of llama.cpp, and the order of the rows in them.
import type { ModelConfig } from '../config.ts';
import { parameterSpecs } from '../parameters.ts';

export interface GgufLayoutTensor {
  readonly name: string;
  /** Row-major, outermost dim first. */
  readonly shape: readonly number[];
  /** The parameters that it consists of: their rows one after the other. */
  readonly parameters: readonly { readonly name: string; readonly rows: number }[];
  /** Number of heads within which rows stand in llama.cpp's order; 0 where they stand in ours. */
  readonly turnedHeads: number;
  /** Whether it is multiplied with, and may be of a smaller type. */
  readonly isMatrix: boolean;
}

const outside: Readonly<Record<string, string>> = {
  'embedding.tokens': 'token_embd.weight',
  'embedding.positions': 'position_embd.weight',
  'finalNorm.weight': 'output_norm.weight',
  'finalNorm.bias': 'output_norm.bias',
  head: 'output.weight',
};

const inBlock: Readonly<Record<string, string>> = {
  attentionNorm: 'attn_norm',
  'attention.query': 'attn_q',
  'attention.key': 'attn_k',
  'attention.value': 'attn_v',
  'attention.output': 'attn_output',
  mlpNorm: 'ffn_norm',
  'mlp.gate': 'ffn_gate',
  'mlp.up': 'ffn_up',
  'mlp.down': 'ffn_down',
};

/**
 * All tensors in the order of the parameters. A tied head is left out: the embedding stands in for it. `turned` says that the architecture
 * turns neighbouring rows of a head together (llama), where we and other architectures turn halves.
 */
export function ggufLayout(config: ModelConfig, turned: boolean): GgufLayoutTensor[] {
  const tensors: GgufLayoutTensor[] = [];
  const isFused = config.family === 'gpt2';
  for (const { name, shape } of parameterSpecs(config)) {
    const [rows = 0, ...columns] = shape;
    const [, layer, role = '', kind] = /^blocks\.(\d+)\.(.+)\.(weight|bias)$/.exec(name) ?? [];
    const isMatrix = shape.length > 1 && name !== 'embedding.positions';
    const plain = { shape, parameters: [{ name, rows }], turnedHeads: 0, isMatrix };
    if (layer === undefined) tensors.push({ ...plain, name: outside[name] ?? name });
    else if (isFused && /^attention\.(query|key|value)$/.test(role)) {
      if (role !== 'attention.query') continue;
      const parameters = ['query', 'key', 'value'].map((part) => ({ name: `blocks.${layer}.attention.${part}.${kind}`, rows }));
      tensors.push({ ...plain, name: `blk.${layer}.attn_qkv.${kind}`, shape: [3 * rows, ...columns], parameters });
    } else {
      const heads = role === 'attention.query' ? config.heads : role === 'attention.key' ? config.kvHeads : 0;
      tensors.push({ ...plain, name: `blk.${layer}.${inBlock[role]}.${kind}`, turnedHeads: turned ? heads : 0 });
    }
  }
  return tensors;
}

/**
 * The rows of heads in llama.cpp's order: rows i and i + half of a head become its rows 2i and 2i + 1. With `back` the other way round. Rows are
 * values or bytes of equal length.
 */
export function turnRows<A extends Float32Array | Uint8Array>(values: A, heads: number, headSize: number, back: boolean): A {
  const columns = values.length / (heads * headSize);
  const turned = values.slice() as A;
  for (let row = 0; row < heads * headSize; row += 1) {
    const within = row % headSize;
    const half = row - within + (within % 2) * (headSize / 2) + Math.floor(within / 2);
    const [from, to] = back ? [row, half] : [half, row];
    turned.set(values.subarray(from * columns, (from + 1) * columns), to * columns);
  }
  return turned;
}
