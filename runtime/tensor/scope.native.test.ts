import { afterAll, expect, it } from 'vitest';
import { setMemoryLimit } from '#kernels/binding.ts';
import {
  add,
  emptyParameter,
  expectNoLeaks,
  fill,
  full,
  keep,
  linear,
  liveTensorCount,
  openDevice,
  scope,
  tensor,
  zeros,
} from './main.ts';
import type { Tensor } from './main.ts';

const device = openDevice();
afterAll(() => device.close());

it('frees at the end of a scope what does not leave it', async () => {
  const before = liveTensorCount();
  const { kept, nested } = scope(() => {
    const gone = full(device, [2, 2], 1);
    const kept = add(gone, gone);
    return { kept, nested: [new Map([['x', scope(() => add(kept, gone))]])] };
  });
  expect(liveTensorCount()).toBe(before + 2);
  expect([...(await nested[0]!.get('x')!.read())]).toEqual([3, 3, 3, 3]);
  kept.dispose();
  nested[0]!.get('x')!.dispose();
  expect(liveTensorCount()).toBe(before);
});

it('reads the values of a tensor whose scope has ended before they were computed', async () => {
  const values = await expectNoLeaks(() => scope(() => add(full(device, [3], 1), full(device, [3], 2)).read()));
  expect([...values]).toEqual([3, 3, 3]);
});

it('keeps what was taken out of its scope, and frees everything when the scope throws', () => {
  const before = liveTensorCount();
  let kept: Tensor | undefined;
  expect(() =>
    scope(() => {
      kept = keep(zeros(device, [4]));
      zeros(device, [4]);
      throw new Error('stop');
    }),
  ).toThrow('stop');
  expect(liveTensorCount()).toBe(before + 1);
  kept?.dispose();
  kept?.dispose();
  expect(liveTensorCount()).toBe(before);
});

it('refuses an async function, whose later tensors would belong to no scope', () => {
  expect(() => scope(async () => {})).toThrowErrorMatchingInlineSnapshot(
    `[WindlassError: scope() takes no async function; read inside it and await what it returns]`,
  );
});

it('names the tensors that a leak left', async () => {
  const left: Tensor[] = [];
  await expect(
    expectNoLeaks(() => void left.push(zeros(device, [2, 3], 'forgotten'))),
  ).rejects.toThrowErrorMatchingInlineSnapshot(`[Error: 1 tensors were not disposed of: forgotten [2, 3]]`);
  for (const leaked of left) leaked.dispose();
});

it('refuses what does not fit at once, with operation and shapes, and goes on', async () => {
  await expectNoLeaks(async () => {
    const refused = () => scope(() => linear(zeros(device, [2, 3]), zeros(device, [4, 5])));
    expect(refused).toThrowErrorMatchingInlineSnapshot(`[WindlassError: linear_forward: w is [4, 5] but K = 3 from x]`);
    expect(refused).toThrow(expect.objectContaining({ code: 'WL_OP_INVALID', details: { operation: 'linear_forward' } }));
    await device.sync();
  });
});

it('refuses a tensor that was freed', () => {
  const freed = zeros(device, [2]);
  freed.dispose();
  expect(() => add(freed, freed)).toThrow(expect.objectContaining({ code: 'WL_OP_INVALID' }));
  expect(() => freed.retain()).toThrowErrorMatchingInlineSnapshot(
    `[WindlassError: tensor tensor f32[2] is used after it was freed]`,
  );
});

it('says WL_OUT_OF_MEMORY where memory ends, and goes on with less', async () => {
  await device.sync();
  setMemoryLimit(1);
  try {
    expect(() => zeros(device, [1 << 20, 64])).toThrow(expect.objectContaining({ code: 'WL_OUT_OF_MEMORY' }));
  } finally {
    setMemoryLimit(0);
  }
  expect(await scope(() => full(device, [1], 5).read())).toEqual(Float32Array.of(5));
});

it('gives integers and floats back as they were written, and refuses to mix them up', async () => {
  await expectNoLeaks(async () => {
    await scope(() => {
      const ids = tensor(device, Int32Array.of(-1, 2 ** 31 - 1), [2]);
      expect(() => tensor(device, Float32Array.of(1), [2])).toThrow(expect.objectContaining({ code: 'WL_OP_INVALID' }));
      return Promise.all([
        expect(ids.readIntegers()).resolves.toEqual(Int32Array.of(-1, 2 ** 31 - 1)),
        expect(ids.read()).rejects.toMatchObject({ code: 'WL_OP_INVALID' }),
      ]);
    });
  });
});

it('frees gradient and packed form with their parameter', async () => {
  await expectNoLeaks(() => {
    const parameter = emptyParameter(device, [2, 2], 'w');
    fill(parameter, 1);
    parameter.grad = zeros(device, [2, 2]);
    parameter.dispose();
  });
});
