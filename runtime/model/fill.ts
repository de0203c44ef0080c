// Gives the parameters of a model the values of a source: read by the device itself where they lie in a file as they are.
import { readFileInto } from '#runtime/tensor/main.ts';
import type { Parameter, Tensor } from '#runtime/tensor/main.ts';
import type { FilePlace, WeightSource } from './weight-source.ts';

/** Resolves when all values are there. */
export async function fillAll(parameters: Iterable<[string, Parameter]>, source: WeightSource): Promise<void> {
  const rest: [string, Parameter][] = [];
  const reads: Promise<void>[] = [];
  for (const [name, parameter] of parameters) {
    const place = source.placeOf?.(name);
    if (place?.type === 'F32' && place.bytes === parameter.size * Float32Array.BYTES_PER_ELEMENT)
      reads.push(readPlace(parameter, place));
    else rest.push([name, parameter]);
  }
  const all = Promise.all(reads);
  // Awaited below: a fault of the others must not leave it behind unheard.
  all.catch(() => {});
  for (const [name, parameter] of rest) parameter.write(await source.read(name));
  await all;
}

/** Reads the bytes of a place into a tensor of as many bytes. Throws what the place has for a file that has become shorter. */
export async function readPlace(tensor: Tensor, place: FilePlace): Promise<void> {
  if (!(await readFileInto(tensor, place.file, place.position))) throw place.ended();
}
