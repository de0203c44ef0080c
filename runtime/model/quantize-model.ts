// `windlass quantize`: a model as a GGUF file of smaller types, with what each layer loses by it.
import { WindlassError } from '#runtime/api/errors.ts';
import { exportModel } from './export.ts';
import type { RecipeName } from './gguf/recipes.ts';
import type { WrittenTensor } from './gguf/save-model.ts';

export interface QuantizeOptions {
  /** Model folder in Hugging Face layout, or a GGUF file. */
  readonly from: string;
  /** Ends in `.gguf`. */
  readonly to: string;
  readonly recipe: RecipeName;
  readonly write: (line: string) => void;
}

/** Throws WL_MANIFEST_INVALID for another ending, and as `exportModel` does. */
export async function quantizeModel({ from, to, recipe, write }: QuantizeOptions): Promise<void> {
  if (!to.endsWith('.gguf')) throw new WindlassError('WL_MANIFEST_INVALID', `${to}: the file to write must end in .gguf`);
  let layer: WrittenTensor[] = [];
  let name = '';
  let [bytes, weights] = [0, 0];
  const tell = () => {
    if (layer.length > 0) write(layerLine(name, layer));
    layer = [];
  };
  const onTensor = (tensor: WrittenTensor) => {
    bytes += tensor.bytes;
    weights += tensor.values;
    const [, next = tensor.name] = /^(blk\.\d+)\./.exec(tensor.name) ?? [];
    if (next !== name) tell();
    name = next;
    layer.push(tensor);
  };
  write('layer               types                  error   worst tensor');
  await exportModel({ from, to, recipe, onTensor });
  tell();
  write(`wrote ${to}: ${(bytes / 1e6).toFixed(1)} MB, ${((8 * bytes) / weights).toFixed(2)} bits per weight`);
}

/** A layer's error is that of all its values together, as a part of their root mean square. */
export function layerLine(name: string, tensors: readonly WrittenTensor[]): string {
  const types = [...new Set(tensors.map(({ type }) => type))].filter((type) => type !== 'F32' || tensors.length === 1);
  const sum = (of: (tensor: WrittenTensor) => number) => tensors.reduce((total, tensor) => total + of(tensor), 0);
  const error = Math.sqrt(sum(({ squaredError }) => squaredError) / (sum(({ squares }) => squares) || 1));
  const worst = tensors.toSorted((a, b) => relativeError(b) - relativeError(a))[0];
  const shown =
    worst && tensors.length > 1
      ? `${worst.name.replace(`${name}.`, '')} ${percent(relativeError(worst))}, at most ${worst.largestError.toPrecision(2)} off`
      : '';
  return `${name.padEnd(20)}${types.join(' ').padEnd(20)}${percent(error).padStart(8)}   ${shown}`.trimEnd();
}

function relativeError({ squaredError, squares }: WrittenTensor): number {
  return squares === 0 ? 0 : Math.sqrt(squaredError / squares);
}

function percent(part: number): string {
  return `${(100 * part).toFixed(2)} %`;
}
