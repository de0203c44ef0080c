// Tensors over files mapped read-only: processes that map the same file share its memory.
import * as kernels from '#kernels/binding.ts';
import type { Device } from './device.ts';
import { guarded } from './errors.ts';
import { Parameter, Tensor } from './tensor.ts';
import type { DType } from './tensor.ts';

const mapOpen = guarded(kernels.mapOpen);
const mapTensor = guarded(kernels.mapTensor);

/** Version of what packing weights writes, and the instruction set that it is written for: bytes of others can't be used. */
export const packing = { version: kernels.packVersion, isa: kernels.isa() } as const;

/** Tensors begin at multiples of this in a file. */
export const mapAlignment = 64;

/** The file must not become shorter while any tensor over it lives: the process would be killed. It may be removed. */
export class MappedFile {
  readonly bytes: number;
  readonly #handle: number;

  /** Throws WL_OP_INVALID where the path is no file that can be read. */
  constructor(path: string) {
    const { handle, bytes } = mapOpen(path);
    this.#handle = handle;
    this.bytes = bytes;
  }

  /** A tensor over bytes from `offset`. It belongs to the caller and can't be written. */
  tensor(
    device: Device,
    place: { readonly dtype: DType; readonly shape: readonly number[]; readonly offset: number },
    label: string,
  ): Tensor {
    const { dtype, shape, offset } = place;
    return new Tensor(device, mapTensor(this.#handle, offset, dtype, shape, label), dtype, shape, label);
  }

  /** A parameter of f32 over bytes from `offset`, which can't be trained. */
  parameter(device: Device, place: { readonly shape: readonly number[]; readonly offset: number }, name: string): Parameter {
    const { shape, offset } = place;
    return new Parameter(device, mapTensor(this.#handle, offset, 'f32', shape, name), 'f32', shape, name);
  }

  /** Tensors over it stay. */
  close(): void {
    kernels.mapClose(this.#handle);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
