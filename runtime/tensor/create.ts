// Making tensors.
import { ops } from './device.ts';
import type { Device } from './device.ts';
import { adopt } from './scope.ts';
import { Parameter, Tensor } from './tensor.ts';
import type { DType } from './tensor.ts';

/** A tensor with undefined values, under the current scope. Throws WL_OUT_OF_MEMORY. */
export function empty(device: Device, shape: readonly number[], label = 'tensor', dtype: DType = 'f32'): Tensor {
  return adopt(new Tensor(device, device.allocate(dtype, shape, label), dtype, shape, label));
}

/** A tensor of i32 (token ids, positions, slots) with undefined values. */
export function emptyIntegers(device: Device, shape: readonly number[], label = 'integers'): Tensor {
  return adopt(new Tensor(device, device.allocate('i32', shape, label), 'i32', shape, label));
}

/** A tensor of bytes (blocks and panels of quantised weights) with undefined values. */
export function emptyBytes(device: Device, shape: readonly number[], label = 'bytes'): Tensor {
  return adopt(new Tensor(device, device.allocate('u8', shape, label), 'u8', shape, label));
}

/** A tensor of f32 filled with `value`. */
export function full(device: Device, shape: readonly number[], value: number, label = 'tensor'): Tensor {
  const made = empty(device, shape, label);
  fill(made, value);
  return made;
}

export function zeros(device: Device, shape: readonly number[], label = 'tensor'): Tensor {
  return full(device, shape, 0, label);
}

/** A tensor with the values of `data`, row-major: f32 from a Float32Array, i32 from an Int32Array, u8 from a Uint8Array. */
export function tensor(
  device: Device,
  data: Float32Array | Int32Array | Uint8Array,
  shape: readonly number[],
  label = 'tensor',
): Tensor {
  const make = data instanceof Int32Array ? emptyIntegers : data instanceof Uint8Array ? emptyBytes : empty;
  const made = make(device, shape, label);
  made.write(data);
  return made;
}

/** A parameter with undefined values; it belongs to the caller, not to a scope. */
export function emptyParameter(device: Device, shape: readonly number[], name: string): Parameter {
  return new Parameter(device, device.allocate('f32', shape, name), 'f32', shape, name);
}

/** A parameter that has no memory yet: see `Parameter.attach`. */
export function detachedParameter(device: Device, shape: readonly number[], name: string): Parameter {
  return new Parameter(device, 0, 'f32', shape, name);
}

/** x = value, in place. */
export function fill(x: Tensor, value: number): void {
  ops.fill(x.device.stream, x.handle, value);
  x.changed();
}

/** x = mean + std * N(0, 1), in place; element i of a tensor depends on (seed, stream, i) only. */
export function fillNormal(x: Tensor, options: { mean: number; std: number; seed: number; stream: number }): void {
  ops.normal(x.device.stream, x.handle, options.mean, options.std, options.seed, options.stream);
  x.changed();
}
