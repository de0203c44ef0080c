// How the tensors of checkpoints are described: single parameters, linear layers and norms under the names of files.
import type { FileTensor } from './family.ts';

/** A tensor that is one parameter. */
export function plain(name: string, shape: readonly number[], parameter: string): FileTensor {
  return { name, shape, parameters: [parameter], transposed: false };
}

/** A linear layer: weight [out, in], and a bias where it has one. */
export function linear(name: string, out: number, from: number, ours: string, hasBias: boolean): FileTensor[] {
  return [
    plain(`${name}.weight`, [out, from], `${ours}.weight`),
    ...(hasBias ? [plain(`${name}.bias`, [out], `${ours}.bias`)] : []),
  ];
}

/** A Conv1D layer: weight [in, out], bias [out], of one or several of our layers beside each other. */
export function conv(name: string, from: number, out: number, ours: readonly string[]): FileTensor[] {
  return [
    { name: `${name}.weight`, shape: [from, out], parameters: ours.map((layer) => `${layer}.weight`), transposed: true },
    { name: `${name}.bias`, shape: [out], parameters: ours.map((layer) => `${layer}.bias`), transposed: false },
  ];
}

/** A LayerNorm with weight and bias. */
export function layerNorm(name: string, size: number, ours: string): FileTensor[] {
  return [plain(`${name}.weight`, [size], `${ours}.weight`), plain(`${name}.bias`, [size], `${ours}.bias`)];
}

/** The tensors of all blocks: `of` gives those of one. */
export function blocks(layers: number, of: (layer: number, ours: string) => readonly FileTensor[]): FileTensor[] {
  return Array.from({ length: layers }, (_, layer) => of(layer, `blocks.${layer}`)).flat();
}
