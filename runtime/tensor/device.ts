// A device: the stream that operations are enqueued on, and the memory that tensors stand for. The only file of the runtime's tensors that calls the addon.
import * as kernels from '#kernels/binding.ts';
import { describe } from './tensor.ts';
import type { DType, Tensor } from './tensor.ts';
import { guarded, toTensorError } from './errors.ts';
import { WindlassError } from '#runtime/api/errors.ts';

/** The operations of `kernels/ops.ts`: (stream, ...handles and scalars). They check shapes, enqueue and return; errors carry WL_* codes. */
export const ops = Object.fromEntries(
  Object.entries(kernels.ops).map(([name, operation]) => [name, guarded(operation as (...args: unknown[]) => void)]),
) as unknown as typeof kernels.ops;

const newStream = guarded(kernels.newStream);
const freeStream = guarded(kernels.freeStream);
const tensorNew = guarded(kernels.tensorNew);
const tensorView = guarded(kernels.tensorView);
const tensorViewRounded = guarded(kernels.tensorViewRounded);
const tensorFree = guarded(kernels.tensorFree);
const tensorWrite = guarded(kernels.tensorWrite);

/** One stream of the compute core. What is enqueued runs in order on a thread of its own; nothing here blocks. */
export class Device {
  readonly stream: number;

  constructor(stream: number) {
    this.stream = stream;
  }

  /** A handle on new memory. Throws WL_OUT_OF_MEMORY. */
  allocate(dtype: DType, shape: readonly number[], label: string): number {
    return tensorNew(dtype, shape, label);
  }

  /** A handle on elements from `offset` of `base` under another shape; they share the memory. */
  view(base: Tensor, offset: number, shape: readonly number[]): number {
    return tensorView(base.handle, offset, shape);
  }

  /** A view of f32 that operations read as the bf16 numbers nearest to it. */
  viewRounded(base: Tensor, offset: number, shape: readonly number[]): number {
    return tensorViewRounded(base.handle, offset, shape);
  }

  free(tensor: Tensor): void {
    if (tensor.handle !== 0) tensorFree(tensor.handle);
  }

  write(tensor: Tensor, data: Float32Array | Int32Array | Uint8Array, offset?: number): void {
    if (offset !== undefined) {
      const view = tensorView(tensor.handle, offset, [data.length]);
      tensorWrite(this.stream, view, data);
      tensorFree(view);
      return;
    }
    if (data.length !== tensor.size) {
      throw new WindlassError(
        'WL_OP_INVALID',
        `write: ${describe(tensor)} has ${tensor.size} elements, the data has ${data.length}`,
      );
    }
    tensorWrite(this.stream, tensor.handle, data);
  }

  async readFloats(tensor: Tensor, into: Float32Array = new Float32Array(tensor.size), offset?: number): Promise<Float32Array> {
    return await this.#read(tensor, 'f32', into, offset);
  }

  async readIntegers(tensor: Tensor): Promise<Int32Array> {
    return await this.#read(tensor, 'i32', new Int32Array(tensor.size));
  }

  async readBytes(tensor: Tensor): Promise<Uint8Array> {
    return await this.#read(tensor, 'u8', new Uint8Array(tensor.size));
  }

  /** Resolves when all that was enqueued so far has run; rejects with the first error of the stream. */
  async sync(): Promise<void> {
    try {
      await kernels.sync(this.stream);
    } catch (error) {
      throw toTensorError(error);
    }
  }

  /** Gives memory that nobody uses any more back to the system, once what was enqueued has run. */
  async trim(): Promise<void> {
    await this.sync();
    kernels.trimMemory();
  }

  /** Ends the device; what is enqueued still runs. Tensors must be disposed of before. */
  close(): void {
    freeStream(this.stream);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async #read<A extends Float32Array | Int32Array | Uint8Array>(
    tensor: Tensor,
    dtype: DType,
    into: A,
    offset?: number,
  ): Promise<A> {
    if (tensor.dtype !== dtype) throw new WindlassError('WL_OP_INVALID', `read: ${describe(tensor)} is not ${dtype}`);
    try {
      await this.#enqueueRead(tensor, into, offset);
      return into;
    } catch (error) {
      throw toTensorError(error);
    }
  }
  #enqueueRead(tensor: Tensor, into: ArrayBufferView & { readonly length: number }, offset: number | undefined): Promise<void> {
    if (offset === undefined) return kernels.tensorRead(this.stream, tensor.handle, into);
    const view = kernels.tensorView(tensor.handle, offset, [into.length]);
    try {
      return kernels.tensorRead(this.stream, view, into);
    } finally {
      kernels.tensorFree(view);
    }
  }
}

/** Opens a stream on the CPU; threads and instruction set follow WL_THREADS and WL_ISA. */
export function openDevice(): Device {
  return new Device(newStream());
}
