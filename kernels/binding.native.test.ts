// The typed door to the compute core: round trips, errors with their words, leaks, environments of worker threads, start-up settings.
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { afterAll, beforeAll, expect, test } from 'vitest';
import * as kernels from './binding.ts';

const bindingUrl = new URL('binding.ts', import.meta.url).href;
const made: number[] = [];
let stream = 0;
let folder = '';

function tensor(shape: number[], values?: readonly number[]): number {
  const handle = kernels.tensorNew('f32', shape, 'test');
  made.push(handle);
  if (values) kernels.tensorWrite(stream, handle, Float32Array.from(values));
  return handle;
}

async function read(handle: number, count: number): Promise<number[]> {
  const out = new Float32Array(count);
  await kernels.tensorRead(stream, handle, out);
  return [...out];
}

function errorOf(call: () => unknown): unknown {
  try {
    call();
  } catch (error) {
    return error;
  }
  return undefined;
}

beforeAll(() => {
  stream = kernels.newStream();
  folder = mkdtempSync(join(tmpdir(), 'windlass-binding-'));
});
afterAll(() => {
  for (const handle of made) kernels.tensorFree(handle);
  kernels.freeStream(stream);
  rmSync(folder, { recursive: true });
  expect(kernels.liveTensors()).toEqual([]);
});

test('what is written is read back, whatever the view onto the bytes', async () => {
  const x = tensor([2, 2]);
  kernels.tensorWrite(stream, x, Buffer.from(Float32Array.of(1, 2, 3, 4).buffer));
  const bytes = new DataView(new ArrayBuffer(16));
  await kernels.tensorRead(stream, x, bytes);
  expect([0, 4, 8, 12].map((at) => bytes.getFloat32(at, true))).toEqual([1, 2, 3, 4]);
});

test('operations run in the order of the calls', async () => {
  const a = tensor([4], [1, 2, 3, 4]);
  const b = tensor([4], [10, 20, 30, 40]);
  kernels.ops.add(stream, a, b, a);
  kernels.ops.scale(stream, a, b, 2);
  kernels.ops.add(stream, a, b, b);
  expect(await read(b, 4)).toEqual([33, 66, 99, 132]);
});

test('a view writes to the memory of its base', async () => {
  const x = tensor([2, 3], [0, 0, 0, 0, 0, 0]);
  const row = kernels.tensorView(x, 3, [3]);
  kernels.ops.fill(stream, row, 7);
  kernels.tensorFree(row);
  expect(await read(x, 6)).toEqual([0, 0, 0, 7, 7, 7]);
});

test('shapes that do not fit throw an error with operation, argument and sizes', () => {
  const x = tensor([32, 192]);
  const w = tensor([768, 3]);
  const y = tensor([32, 768]);
  const error = errorOf(() => kernels.ops.linear_forward(stream, x, w, null, y, 16, 8));
  expect(error).toBeInstanceOf(kernels.KernelError);
  expect(error).toMatchObject({ kind: 'invalid', op: 'linear_forward', outOfMemory: false });
  expect(error).toMatchInlineSnapshot(`[KernelError: linear_forward: w is [768, 3] but K = 192 from x]`);
});

test('arguments of the wrong kind and number are named', () => {
  const call = kernels.ops.fill as unknown as (...args: unknown[]) => void;
  expect(errorOf(() => call(stream, 'x', 1))).toMatchInlineSnapshot(`[KernelError: fill: argument x must be a handle]`);
  expect(errorOf(() => call(stream, 1))).toMatchInlineSnapshot(`[KernelError: fill: needs 3 arguments, got 2]`);
  expect(errorOf(() => call(stream, tensor([1]), '1'))).toMatchInlineSnapshot(
    `[KernelError: fill: argument value must be a number]`,
  );
  const norm = kernels.ops.squares_max as unknown as (...args: unknown[]) => void;
  expect(errorOf(() => norm(stream, [1], tensor([1])))).toMatchInlineSnapshot(
    `[KernelError: squares_max: argument tensors must be a Uint32Array of handles]`,
  );
});

test('a freed tensor is refused, not followed', () => {
  const x = kernels.tensorNew('f32', [2]);
  kernels.tensorFree(x);
  expect(() => kernels.ops.fill(stream, x, 1)).toThrow(`fill: x is not a live tensor (handle ${x})`);
  expect(() => kernels.tensorFree(x)).toThrow('it was freed before');
});

test('the list of live tensors shows label, type, shape and bytes', () => {
  const before = kernels.liveTensors().length;
  const x = kernels.tensorNew('i32', [3, 5], 'leak');
  const live = kernels.liveTensors();
  expect(live).toHaveLength(before + 1);
  expect(live.find(({ handle }) => handle === x)).toEqual({
    handle: x,
    label: 'leak',
    dtype: 'i32',
    shape: [3, 5],
    bytes: 60,
    view: false,
  });
  kernels.tensorFree(x);
  expect(kernels.liveTensors()).toHaveLength(before);
});

test('memory beyond the limit is refused as retryable, and the next smaller request succeeds', () => {
  kernels.trimMemory();
  kernels.setMemoryLimit(kernels.memoryStats().systemBytes + 2 ** 22);
  const error = errorOf(() => kernels.tensorNew('f32', [2 ** 24]));
  kernels.setMemoryLimit(0);
  expect(error).toMatchObject({ kind: 'retryable', op: 'tensor_new', outOfMemory: true });
  tensor([2 ** 18]);
});

test('promises of many streams settle, each with its own data', async () => {
  const streams = [kernels.newStream(), kernels.newStream(), kernels.newStream()];
  const reads = streams.flatMap((on) =>
    Array.from({ length: 40 }, async (_, i) => {
      const x = kernels.tensorNew('f32', [64]);
      kernels.ops.fill(on, x, i);
      const out = new Float32Array(64);
      const done = kernels.tensorRead(on, x, out);
      kernels.tensorFree(x);
      await done;
      return out.every((value) => value === i);
    }),
  );
  expect((await Promise.all(reads)).every(Boolean)).toBe(true);
  for (const on of streams) kernels.freeStream(on);
});

test('an event orders two streams', async () => {
  const other = kernels.newStream();
  const event = kernels.newEvent();
  const x = tensor([1], [1]);
  for (let i = 0; i < 200; i += 1) kernels.ops.add(stream, x, x, x);
  kernels.ops.fill(stream, x, 5);
  kernels.recordEvent(event, stream);
  kernels.waitEvent(event, other);
  const out = new Float32Array(1);
  await kernels.tensorRead(other, x, out);
  expect(out[0]).toBe(5);
  kernels.freeEvent(event);
  kernels.freeStream(other);
});

test('a tensor is filled from a byte range of a mapped file', async () => {
  const path = join(folder, 'values.bin');
  writeFileSync(path, Float32Array.of(1, 2, 3, 4));
  const file = kernels.mapOpen(path);
  expect(file.bytes).toBe(16);
  const x = tensor([2]);
  kernels.tensorWriteFromMap(stream, x, file.handle, 8, 8);
  const head = new Float32Array(1);
  kernels.mapRead(file.handle, 0, head);
  expect(() => kernels.mapRead(file.handle, 13, head)).toThrow('map_read: 4 bytes at 13 are outside of the file of 16 bytes');
  kernels.mapClose(file.handle);
  expect(await read(x, 2)).toEqual([3, 4]);
  expect(head[0]).toBe(1);
  expect(() => kernels.mapOpen(join(folder, 'absent'))).toThrow('No such file or directory');
});

test('a worker thread computes beside this one, and what it leaves behind is freed when it ends', async () => {
  const before = kernels.liveTensors().length;
  const code = `
    const { parentPort } = require('node:worker_threads');
    import(${JSON.stringify(bindingUrl)}).then(async (kernels) => {
      const stream = kernels.newStream();
      const x = kernels.tensorNew('f32', [1000], 'of the worker');
      kernels.ops.fill(stream, x, 3);
      const out = new Float32Array(1000);
      await kernels.tensorRead(stream, x, out);
      for (let i = 0; i < 3000; i += 1) kernels.ops.scale(stream, x, x, 1);
      void kernels.tensorRead(stream, x, out);
      parentPort.postMessage(out[999]);
      parentPort.close();
      process.exit(0);
    });`;
  for (let round = 0; round < 3; round += 1) {
    const worker = new Worker(code, { eval: true });
    const [value, exit] = await Promise.all([
      new Promise((resolve) => worker.once('message', resolve)),
      new Promise((resolve) => worker.once('exit', resolve)),
    ]);
    expect([value, exit]).toEqual([3, 0]);
  }
  expect(kernels.liveTensors()).toHaveLength(before);
  const x = tensor([2], [1, 2]);
  expect(await read(x, 2)).toEqual([1, 2]);
});

test.each([
  [{ WL_ISA: 'sse9' }, "WL_ISA is 'sse9'; it must be generic, avx2, avx512 or amx"],
  [{ WL_THREADS: 'two' }, "WL_THREADS is 'two'; it must be a whole number from 1 to 1024"],
  [{ WL_MEMORY_LIMIT: '-1' }, "WL_MEMORY_LIMIT is '-1'; it must be a whole number from 0 to 1152921504606846976"],
])('a setting that cannot be is refused at start: %j', async (setting, message) => {
  const program = `import(${JSON.stringify(bindingUrl)}).catch((error) => { console.log(error.kind, error.message); })`;
  const { stdout } = await promisify(execFile)(process.execPath, ['-e', program], { env: { ...process.env, ...setting } });
  expect(stdout).toBe(`fatal the native addon does not load: ${message}\n`);
});

test('a process ends by itself when nothing is pending, and waits while a read is', async () => {
  const program = `import(${JSON.stringify(bindingUrl)}).then((kernels) => {
    const stream = kernels.newStream();
    const x = kernels.tensorNew('f32', [4]);
    for (let i = 0; i < 5000; i += 1) kernels.ops.fill(stream, x, i);
    const out = new Float32Array(4);
    void kernels.tensorRead(stream, x, out).then(() => console.log(out[0], kernels.threads(), kernels.isa()));
  })`;
  const { stdout } = await promisify(execFile)(process.execPath, ['-e', program], {
    env: { ...process.env, WL_THREADS: '3', WL_ISA: 'generic' },
  });
  expect(stdout).toBe('4999 3 generic\n');
});

test('prints what a call costs', async () => {
  const x = tensor([1]);
  const y = tensor([1]);
  const batches: number[] = [];
  for (let batch = 0; batch < 50; batch += 1) {
    const begin = performance.now();
    for (let i = 0; i < 2000; i += 1) kernels.ops.add(stream, x, x, y);
    batches.push(((performance.now() - begin) * 1e6) / 2000);
    await kernels.sync(stream);
  }
  const [best = 0, median = 0] = [0, 25].map((at) => batches.sort((a, b) => a - b)[at]);
  process.stdout.write(
    `enqueueing an operation with three tensors: best ${best.toFixed(0)}, median ${median.toFixed(0)} ns a call\n`,
  );
  expect(best).toBeGreaterThan(0);
});
