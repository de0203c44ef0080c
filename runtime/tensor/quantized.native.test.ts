import { afterAll, expect, it } from 'vitest';
import {
  Tape,
  dequantize,
  embedding,
  emptyParameter,
  expectNoLeaks,
  fillNormal,
  linear,
  openDevice,
  packQuantized,
  quantize,
  quantizedBytes,
  quantTypes,
  scope,
  setQuantized,
  tensor,
} from './main.ts';
import type { QuantType } from './main.ts';

const device = openDevice();
afterAll(() => device.close());

const types = Object.keys(quantTypes) as QuantType[];

it.each(types)(
  'a layer with a weight in %s gives what the decoded weight gives, but for the rounding of its input',
  async (type) => {
    await expectNoLeaks(async () => {
      const [n, k, m] = [40, 512, 3];
      using w = emptyParameter(device, [n, k], 'w');
      fillNormal(w, { mean: 0, std: 0.02, seed: 1, stream: 0 });
      const read = scope(() => {
        const blocks = quantize(w, type);
        const plain = dequantize(blocks, type, [n, k]);
        setQuantized(w, packQuantized(blocks, type, k));
        const x = tensor(
          device,
          Float32Array.from({ length: m * k }, (_, i) => Math.sin(i)),
          [m, k],
        );
        return Promise.all([linear(x, w).read(), linear(x, plain).read(), plain.read()]);
      });
      const [seen, wanted, plain] = await read;
      for (let row = 0; row < n; row += 1) {
        // Inputs are at most 1, so each is off by 1 / 254 at most.
        const size = plain.subarray(row * k, (row + 1) * k).reduce((sum, value) => sum + Math.abs(value), 0);
        for (let i = 0; i < m; i += 1) expect(Math.abs(seen[i * n + row]! - wanted[i * n + row]!)).toBeLessThan(size / 250);
      }
    });
  },
);

it('looks rows up in a quantised table, and says so where it was packed without blocks', async () => {
  await expectNoLeaks(async () => {
    using table = emptyParameter(device, [7, 64], 'table');
    fillNormal(table, { mean: 0, std: 1, seed: 2, stream: 0 });
    const read = scope(() => {
      const blocks = quantize(table, 'Q4_1');
      const plain = dequantize(blocks, 'Q4_1', [7, 64]);
      setQuantized(table, packQuantized(blocks, 'Q4_1', 64, true));
      return Promise.all([embedding(tensor(device, Int32Array.of(6, 0, 6), [3]), table).read(), plain.read()]);
    });
    const [seen, plain] = await read;
    expect([...seen]).toEqual([...plain.subarray(6 * 64), ...plain.subarray(0, 64), ...plain.subarray(6 * 64)]);
    scope(() => {
      setQuantized(table, packQuantized(quantize(table, 'Q4_1'), 'Q4_1', 64));
      expect(() => embedding(tensor(device, Int32Array.of(1), [1]), table)).toThrow(/was packed without its blocks/);
    });
  });
});

it('refuses to train a quantised weight, and rows that are not whole blocks', () => {
  using w = emptyParameter(device, [4, 32], 'w');
  fillNormal(w, { mean: 0, std: 1, seed: 3, stream: 0 });
  scope(() => {
    setQuantized(w, packQuantized(quantize(w, 'Q8_0'), 'Q8_0', 32));
    const x = tensor(device, new Float32Array(32), [1, 32]);
    const tape = new Tape({ length: 1 });
    tape.track(x);
    expect(() => tape.record(() => linear(x, w))).toThrow("linear: the quantised weight w can't be trained");
    expect(() => quantize(w, 'Q4_K')).toThrow('w: rows of 32 elements are not whole blocks of Q4_K');
  });
  expect(quantizedBytes('Q4_K', 512)).toBe(288);
  expect(quantizedBytes('Q4_K', 300)).toBeUndefined();
});

it('takes new plain values where the quantised form was', async () => {
  await expectNoLeaks(async () => {
    using w = emptyParameter(device, [1, 32], 'w');
    w.write(new Float32Array(32).fill(1));
    const read = scope(() => {
      setQuantized(w, packQuantized(quantize(w, 'Q8_0'), 'Q8_0', 32));
      w.write(new Float32Array(32).fill(2));
      return linear(tensor(device, new Float32Array(32).fill(1), [1, 32]), w).read();
    });
    expect([...(await read)]).toEqual([64]);
  });
});
