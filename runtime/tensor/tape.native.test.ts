import { afterAll, expect, it } from 'vitest';
import {
  Tape,
  add,
  checkpoint,
  crossEntropy,
  dropout,
  embedding,
  detachedParameter,
  emptyParameter,
  expectNoLeaks,
  fill,
  full,
  gelu,
  linear,
  linears,
  openDevice,
  rmsNorm,
  scope,
  tensor,
  view,
  withoutTape,
  zeros,
} from './main.ts';
import type { Parameter, Tensor } from './main.ts';

const device = openDevice();
afterAll(() => device.close());

function leafOf(tape: Tape, values: readonly number[]): Tensor {
  const leaf = tensor(device, Float32Array.from(values), [1, values.length]);
  tape.track(leaf);
  return leaf;
}

it('adds what arrives at a tensor by several ways and leaves the gradient it started with alone', async () => {
  await expectNoLeaks(async () => {
    const read = scope(() => {
      const tape = new Tape({ length: 1 });
      const x = leafOf(tape, [1, 2]);
      const y = tape.record(() => {
        const twice = add(x, x);
        return add(add(twice, x), twice);
      });
      const seed = full(device, [1, 2], 3);
      const [dx] = tape.backward(y, seed, [x]);
      return Promise.all([dx!.read(), seed.read(), y.read()]);
    });
    expect((await read).map((values) => [...values])).toEqual([
      [15, 15],
      [3, 3],
      [5, 10],
    ]);
  });
});

it('gives undefined for a leaf that the root does not depend on', () => {
  scope(() => {
    const tape = new Tape({ length: 1 });
    const [x, other] = [leafOf(tape, [1]), leafOf(tape, [2])];
    const y = tape.record(() => add(x, x));
    tape.record(() => add(other, other));
    const [dx, none] = tape.backward(y, full(device, [1, 1], 1), [x, other]);
    expect([dx?.shape, none]).toEqual([[1, 1], undefined]);
  });
});

it('frees activations and gradients while it walks back, and holds no memory after it', async () => {
  await expectNoLeaks(async () => {
    const w = parameter([8, 8], 0.1);
    const read = scope(() => {
      const tape = new Tape({ length: 4 });
      const out = tape.record(() => {
        let x = full(device, [4, 8], 1);
        for (let layer = 0; layer < 3; layer += 1) x = scope(() => gelu(linear(x, w), 'tanh'));
        return x;
      });
      tape.backward(out, full(device, [4, 8], 1));
      expect(w.grad?.shape).toEqual([8, 8]);
      return w.grad!.read();
    });
    expect((await read).every((value) => value > 0)).toBe(true);
    w.dispose();
  });
});

it('overwrites the gradients of the pass before', async () => {
  const w = parameter([1, 1], 2);
  const gradient = () =>
    scope(() => {
      const tape = new Tape({ length: 1 });
      const y = tape.record(() => linear(full(device, [1, 1], 3), w));
      tape.backward(y, full(device, [1, 1], 1));
      return w.grad!.read();
    });
  expect([...(await gradient()), ...(await gradient())]).toEqual([3, 3]);
  w.dispose();
});

it('adds the gradients of a parameter that is used twice in one pass', async () => {
  await expectNoLeaks(async () => {
    const w = parameter([2, 2], 1);
    const grad = await scope(() => {
      const tape = new Tape({ length: 1 });
      const ids = tensor(device, Int32Array.of(1), [1]);
      const y = tape.record(() => linear(embedding(ids, w), w));
      tape.backward(y, tensor(device, Float32Array.of(1, 10), [1, 2]));
      return w.grad!.read();
    });
    expect([...grad]).toEqual([1, 1, 21, 21]);
    w.dispose();
  });
});

it('starts from the one loss it is given', async () => {
  await expectNoLeaks(async () => {
    const [w, other] = [parameter([3, 2], 1), parameter([3, 2], 1)];
    const grad = await scope(() => {
      const tape = new Tape({ length: 1 });
      const targets = tensor(device, Int32Array.of(0), [1]);
      const h = tensor(device, Float32Array.of(3, 6), [1, 2]);
      const loss = tape.record(() => {
        const first = crossEntropy(h, w, targets, { weight: 1 });
        crossEntropy(h, other, targets, { weight: 1 });
        return first;
      });
      expect(() => tape.backward(loss, full(device, [1], 1))).toThrow(/brings its own gradient and takes none$/);
      tape.backward(loss);
      return w.grad!.read();
    });
    expect([...grad]).toEqual([-2, -4, 1, 2, 1, 2].map((value) => expect.closeTo(value, 5)));
    expect(other.grad).toBeUndefined();
    for (const made of [w, other]) made.dispose();
  });
});

it('computes layers with one input as parts of one wide layer, in memory that views share with it', async () => {
  await expectNoLeaks(async () => {
    const wide = emptyParameter(device, [32, 8], 'wide');
    wide.write(waves(256));
    const parts = [0, 1].map((part) => view(wide, part * 128, [16, 8]));
    const [low, high] = parts.map((part, index) => detachedParameter(device, part.shape, `part ${index}`));
    low!.attach(parts[0]!);
    high!.attach(parts[1]!);
    const dy = waves(48);
    const x = tensor(device, waves(24), [3, 8]);
    const pass = (record: () => Tensor, gradient: Float32Array, columns: number) =>
      scope(() => {
        const tape = new Tape({ length: 3 });
        tape.track(x);
        const y = tape.record(record);
        const [dx] = tape.backward(y, tensor(device, gradient, [3, columns]), [x]);
        return Promise.all([y.read(), dx!.read()]);
      });

    const grads = zeros(device, [256]);
    const targets = [0, 1].map((part) => view(grads, part * 128, [16, 8]));
    [low!.gradTarget, high!.gradTarget] = targets;
    const [sums, dx] = await pass(() => add(...linears(x, [{ weight: low! }, { weight: high! }])), dy, 16);

    // A unit of 32 has one span, as two layers of one unit of 16 each have.
    const twice = Float32Array.from({ length: 96 }, (_, index) => dy[Math.floor(index / 32) * 16 + (index % 16)]!);
    const [y, wideDx] = await pass(() => linear(x, wide, undefined, { outputUnit: 32 }), twice, 32);
    expect(dx).toEqual(wideDx);
    expect(await grads.read()).toEqual(await wide.grad!.read());
    expect(low!.grad).toBeUndefined();
    expect(sums).toEqual(
      sums.map((_, index) =>
        Math.fround(y[Math.floor(index / 16) * 32 + (index % 16)]! + y[Math.floor(index / 16) * 32 + 16 + (index % 16)]!),
      ),
    );
    for (const parameter of [low!, high!]) parameter.detach();
    for (const made of [wide, low!, high!, ...parts, grads, x, ...targets]) made.dispose();
  });
});

it('writes the gradients of a parameter that is used twice into the memory it is given', async () => {
  await expectNoLeaks(async () => {
    const w = parameter([2, 2], 1);
    const grads = full(device, [3, 2, 2], 7);
    w.gradTarget = view(grads, 4, [2, 2]);
    scope(() => {
      const tape = new Tape({ length: 1 });
      const ids = tensor(device, Int32Array.of(1), [1]);
      // The loss hands its gradient over, the layer adds its own.
      const loss = tape.record(() => crossEntropy(linear(embedding(ids, w), w), w, ids, { weight: 1 }));
      tape.backward(loss);
    });
    const same = parameter([2, 2], 1);
    const wanted = await scope(() => {
      const tape = new Tape({ length: 1 });
      const ids = tensor(device, Int32Array.of(1), [1]);
      tape.backward(tape.record(() => crossEntropy(linear(embedding(ids, same), same), same, ids, { weight: 1 })));
      return same.grad!.read();
    });
    expect([...(await grads.read())]).toEqual([7, 7, 7, 7, ...wanted, 7, 7, 7, 7]);
    for (const made of [w, same, w.gradTarget, grads]) made.dispose();
  });
});

it('shares memory between a tensor and its views until the last of them is freed', async () => {
  await expectNoLeaks(async () => {
    const [middle, values] = scope(() => {
      const flat = tensor(device, waves(12), [12]);
      const middle = view(flat, 4, [2, 2]);
      view(flat, 0, [4]).write(new Float32Array(4).fill(3));
      expect(() => view(flat, 10, [3])).toThrow(expect.objectContaining({ code: 'WL_OP_INVALID' }));
      return [middle, flat.read()] as const;
    });
    expect([...(await values)]).toEqual([3, 3, 3, 3, ...waves(12).slice(4)]);
    expect(await middle.read()).toEqual(waves(12).slice(4, 8));
    middle.dispose();
  });
});

it('gives the same gradients when those of weights are left for later', async () => {
  await expectNoLeaks(async () => {
    const table = emptyParameter(device, [5, 8], 'table');
    table.write(waves(40));
    const w = [0, 1, 2].map((index) => parameter([8, 8], 0.1 + 0.01 * index));
    const scale = parameter([8], 0.5);
    const bias = parameter([8], 0.25);
    const all = [table, ...w, scale, bias];
    const pass = (when: 'now' | 'later' | 'never') =>
      scope(() => {
        const tape = new Tape({ length: 4 });
        const ids = tensor(device, Int32Array.of(1, 4, 1, 0), [4]);
        const leaf = tensor(device, waves(32), [4, 8]);
        tape.track(leaf);
        const y = tape.record(() => {
          const block = (x: Tensor) => () => {
            const [a, b] = linears(rmsNorm(x, scale, 1e-5), [{ weight: w[0]!, bias }, { weight: w[1]! }]);
            return [linear(gelu(add(a, b), 'tanh'), w[2]!)] as const;
          };
          const x = add(embedding(ids, table), leaf);
          const [first] = checkpoint(block(x), [x]);
          return linear(block(first)()[0], table);
        });
        const seed = tensor(device, waves(20), [4, 5]);
        if (when === 'now') tape.backward(y, seed, [leaf]);
        else {
          using weights = tape.backwardInputs(y, seed, [leaf]).weights;
          expect(w.map(({ grad }) => grad)).toEqual([undefined, undefined, undefined]);
          if (when === 'never') return Promise.resolve([]);
          weights.run();
          weights.run();
        }
        const read = all.map((parameter) => parameter.takeGradient());
        const values = Promise.all(read.map((gradient) => gradient.read()));
        for (const gradient of read) gradient.dispose();
        return values;
      });
    const now = await pass('now');
    expect(await pass('later')).toEqual(now);
    expect(now[0]!.some((value) => value !== 0)).toBe(true);
    await pass('never');
    for (const made of all) made.dispose();
  });
});

it('does not record outside of itself, nor what depends on nothing trained', async () => {
  await expectNoLeaks(() => {
    const w = parameter([2, 2], 1);
    scope(() => {
      using tape = new Tape({ length: 1 });
      const plain = linear(full(device, [1, 2], 1), w);
      const constant = tape.record(() => gelu(full(device, [1, 2], 1), 'erf'));
      const silent = tape.record(() => withoutTape(() => linear(full(device, [1, 2], 1), w)));
      for (const root of [plain, constant, silent]) {
        expect(() => tape.backward(root, full(device, [1, 2], 1))).toThrow(/was not recorded on this tape$/);
      }
    });
    w.dispose();
  });
});

it('recomputes a part of the model to the same bits, also with dropout and when parts lie within parts', async () => {
  await expectNoLeaks(async () => {
    const w = parameter([16, 16], 0.11);
    const pass = (isRecomputed: boolean) =>
      scope(() => {
        const tape = new Tape({ length: 4 });
        const x = tensor(
          device,
          Float32Array.from({ length: 64 }, (_, index) => Math.sin(index)),
          [4, 16],
        );
        tape.track(x);
        const y = tape.record(() => {
          const part = (input: Tensor, site: number) => () => {
            const inner = linear(input, w);
            return [
              add(dropout(gelu(inner, 'tanh'), { probability: 0.3, seed: 1, step: 2, site, firstToken: 0 }), input),
            ] as const;
          };
          const both = () => {
            const [first] = isRecomputed ? checkpoint(part(x, 0), [x]) : part(x, 0)();
            return isRecomputed ? checkpoint(part(first, 1), [first]) : part(first, 1)();
          };
          return isRecomputed ? checkpoint(both, [x])[0] : both()[0];
        });
        const [dx] = tape.backward(y, full(device, [4, 16], 1), [x]);
        return Promise.all([y.read(), dx!.read(), w.grad!.read()]);
      });
    expect(await pass(true)).toEqual(await pass(false));
    w.dispose();
  });
});

it('lets go of everything when an operation fails in the middle of the backward pass', async () => {
  await expectNoLeaks(() => {
    const w = parameter([2, 2], 1);
    scope(() => {
      const tape = new Tape({ length: 3 });
      const y = tape.record(() => gelu(linear(full(device, [4, 2], 1), w), 'erf'));
      expect(() => tape.backward(y, full(device, [4, 2], 1))).toThrow(expect.objectContaining({ code: 'WL_OP_INVALID' }));
    });
    w.dispose();
  });
});

function parameter(shape: readonly number[], value: number): Parameter {
  const made = emptyParameter(device, shape, 'w');
  fill(made, value);
  return made;
}

function waves(length: number): Float32Array {
  return Float32Array.from({ length }, (_, index) => Math.sin(index + 1));
}
