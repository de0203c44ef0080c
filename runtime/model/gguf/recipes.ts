// Which type each tensor of a quantised model gets: llama.cpp's recipes by their names (llama-quant.cpp, without importance matrices).
import { ggufTensorTypes } from './tensor-types.ts';
import type { GgufTensorType } from './tensor-types.ts';

interface Recipe {
  /** What most matrices are. */
  readonly base: GgufTensorType;
  /** `general.file_type`. */
  readonly fileType: number;
  /** More bits for the values of the attention and the second half of the MLP in some layers. */
  readonly more?: { readonly type: GgufTensorType; readonly where: 'first' | 'spread' };
}

export const recipes = {
  F32: { base: 'F32', fileType: 0 },
  F16: { base: 'F16', fileType: 1 },
  BF16: { base: 'BF16', fileType: 32 },
  Q4_0: { base: 'Q4_0', fileType: 2 },
  Q4_1: { base: 'Q4_1', fileType: 3 },
  Q5_0: { base: 'Q5_0', fileType: 8 },
  Q5_1: { base: 'Q5_1', fileType: 9 },
  Q8_0: { base: 'Q8_0', fileType: 7 },
  Q4_K_S: { base: 'Q4_K', fileType: 14, more: { type: 'Q5_K', where: 'first' } },
  Q4_K_M: { base: 'Q4_K', fileType: 15, more: { type: 'Q6_K', where: 'spread' } },
  Q5_K_S: { base: 'Q5_K', fileType: 16 },
  Q5_K_M: { base: 'Q5_K', fileType: 17, more: { type: 'Q6_K', where: 'spread' } },
  Q6_K: { base: 'Q6_K', fileType: 18 },
} as const satisfies Readonly<Record<string, Recipe>>;

export type RecipeName = keyof typeof recipes;

interface Surroundings {
  readonly layers: number;
  /** Whether the head is the token embedding. */
  readonly isTied: boolean;
}

/** The type of a matrix of `columns` values a row. */
export function recipeType(name: RecipeName, tensor: string, columns: number, { layers, isTied }: Surroundings): GgufTensorType {
  const { base, more }: Recipe = recipes[name];
  if (ggufTensorTypes[base].blockValues === 1) return base;
  const isHead = tensor === 'output.weight' || (isTied && tensor === 'token_embd.weight');
  if (isHead) return fitting(base === 'Q8_0' || columns % ggufTensorTypes[base].blockValues !== 0 ? 'Q8_0' : 'Q6_K', columns);
  const [, layer, role] = /^blk\.(\d+)\.(attn_v|attn_qkv|ffn_down)\.weight$/.exec(tensor) ?? [];
  if (layer === undefined || !more) return fitting(base, columns);
  const first = role === 'ffn_down' ? Math.floor(layers / 8) : 4;
  const hasMore = more.where === 'first' ? Number(layer) < first : isSpread(Number(layer), layers);
  return fitting(hasMore ? more.type : base, columns);
}

/** The first and last eighth of the layers, and every third between. */
function isSpread(layer: number, layers: number): boolean {
  const eighth = Math.floor(layers / 8);
  return layer < eighth || layer >= Math.floor((7 * layers) / 8) || (layer - eighth) % 3 === 2;
}

const smallerBlocks: Readonly<Partial<Record<GgufTensorType, GgufTensorType>>> = { Q4_K: 'Q5_0', Q5_K: 'Q5_1', Q6_K: 'Q8_0' };

/** Rows that are no whole blocks of a type get one of smaller blocks, in the end none. */
function fitting(type: GgufTensorType, columns: number): GgufTensorType {
  if (columns % ggufTensorTypes[type].blockValues === 0) return type;
  const smaller = smallerBlocks[type];
  return smaller && columns % ggufTensorTypes[smaller].blockValues === 0 ? smaller : 'F16';
}
