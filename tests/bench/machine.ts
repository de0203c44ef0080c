// What the machine can do while a bench runs, and what it is.
import { cpus, loadavg } from 'node:os';
import * as kernels from '#kernels/binding.ts';
import { empty, fill } from '#runtime/tensor/main.ts';
import type { Device } from '#runtime/tensor/main.ts';
import type { BenchLine, IsaClass, Limits } from './line.ts';

/** Floats of each side of a copy: far more than caches hold. */
const copiedFloats = 32 << 20;
const copies = 3;

export class Machine {
  readonly #device: Device;
  readonly #fma: number[] = [];
  readonly #read: number[] = [];
  readonly #copy: number[] = [];
  readonly #load = loadavg()[0] ?? NaN;

  constructor(device: Device) {
    this.#device = device;
  }

  /** Measures the limits once more; to be called in each round. */
  async look(): Promise<void> {
    const { stream } = this.#device;
    this.#fma.push(await kernels.measureFmaPeak(stream));
    this.#read.push(await kernels.measureBandwidth(stream));
    this.#copy.push(await this.#copyRate());
  }

  /** The best of all rounds: what else runs can only lower them. */
  get limits(): Limits {
    return { fma: Math.max(...this.#fma), read: Math.max(...this.#read), copy: Math.max(...this.#copy) };
  }

  /** All of a line but what was measured. */
  describe(isa: IsaClass): Pick<BenchLine, 'isa' | 'at' | 'cpu' | 'threads' | 'kernels' | 'load' | 'limits'> {
    return {
      isa,
      at: new Date().toISOString(),
      cpu: cpus()[0]?.model ?? 'unknown',
      threads: kernels.threads(),
      kernels: kernels.isa(),
      load: this.#load,
      limits: this.limits,
    };
  }

  async #copyRate(): Promise<number> {
    using from = empty(this.#device, [copiedFloats], 'copy from');
    using to = empty(this.#device, [copiedFloats], 'copy to');
    fill(from, 1);
    fill(to, 0);
    await this.#device.sync();
    let best = 0;
    for (let run = 0; run < copies; run += 1) {
      const begin = performance.now();
      kernels.ops.copy(this.#device.stream, from.handle, to.handle);
      await this.#device.sync();
      best = Math.max(best, (2 * 4 * copiedFloats) / (performance.now() - begin) / 1e6);
    }
    return best;
  }
}
