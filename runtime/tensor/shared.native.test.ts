// What ranks of a group compute with parts of weights, sequences and vocabulary adds up to the bits of one rank. The ranks are parts of one process here.
import { afterAll, expect, it } from 'vitest';
import {
  Tape,
  addBias,
  addInto,
  addLayerNorm,
  addRmsNorm,
  crossEntropy,
  dropout,
  embedding,
  emptyParameter,
  expectNoLeaks,
  full,
  giveWeightGradient,
  globalNorm,
  linear,
  linears,
  normOf,
  openDevice,
  scope,
  siluGate,
  squaresMax,
  squaresSum,
  tensor,
  vocabularyExponentials,
  vocabularyInputGradient,
  vocabularyLogits,
  vocabularyLosses,
} from './main.ts';
import type { Parameter, Tensor } from './main.ts';

const device = openDevice();
afterAll(() => device.close());

const sequences = 2;
const length = 8;
const rows = sequences * length;
const size = 32;
const ranks = 2;

it('ranks with parts of the outputs, then of the inputs, of a gated layer add up to the whole', async () => {
  const inner = 96;
  const unit = 24;
  const x = wave(rows * size, 1);
  const weights = { gate: wave(inner * size, 2), up: wave(inner * size, 3), down: wave(size * inner, 4) };
  const dy = wave(rows * size, 5);
  const pass = (gate: Float32Array, up: Float32Array, down: Float32Array, share: number) =>
    scope(() => {
      const here = inner / share;
      const parameters = [parameter(gate, [here, size]), parameter(up, [here, size]), parameter(down, [size, here])] as const;
      const tape = new Tape({ length });
      const input = tensor(device, x, [rows, size]);
      tape.track(input);
      const y = tape.record(() => {
        const [a, b] = linears(input, [{ weight: parameters[0] }, { weight: parameters[1] }], {
          outputUnit: unit,
          outputSpans: 8 / share,
        });
        return linear(siluGate(a, b), parameters[2], undefined, { unit, spans: 8 / share });
      });
      const [dx] = tape.backward(y, tensor(device, dy, [rows, size]), [input]);
      const values = Promise.all([y.read(), dx!.read(), ...parameters.map(({ grad }) => grad!.read())]);
      for (const made of parameters) made.dispose();
      return values;
    });
  const [y, dx, dgate, dup, ddown] = await pass(weights.gate, weights.up, weights.down, 1);
  const parts = await Promise.all(
    [0, 1].map((rank) => {
      const [from, to] = [(rank * inner) / ranks, ((rank + 1) * inner) / ranks];
      const down = columns(weights.down, inner, from, to);
      return pass(weights.gate.slice(from * size, to * size), weights.up.slice(from * size, to * size), down, ranks);
    }),
  );
  expect(added(parts.map((part) => part[0]))).toEqual(y);
  expect(added(parts.map((part) => part[1]))).toEqual(dx);
  for (const [rank, part] of parts.entries()) {
    const [from, to] = [(rank * inner) / ranks, ((rank + 1) * inner) / ranks];
    expect(part[2]).toEqual(dgate!.slice(from * size, to * size));
    expect(part[3]).toEqual(dup!.slice(from * size, to * size));
    expect(part[4]).toEqual(columns(ddown!, inner, from, to));
  }
});

it('ranks with a part of every sequence have its rows of norms, dropout and embeddings, and add up to their gradients', async () => {
  const ids = Int32Array.from({ length: rows }, (_, index) => (index * 7) % 5);
  const [residual, dy] = [wave(rows * size, 6), wave(rows * size, 7)];
  const values = {
    table: wave(5 * size, 1),
    bias: wave(size, 2),
    scale: wave(size, 3),
    gain: wave(size, 4),
    shift: wave(size, 5),
  };
  const pass = (rank: number, share: number) =>
    scope(() => {
      const own = length / share;
      const part = <T extends Float32Array | Int32Array>(of: T, columns: number) =>
        positions(of, length, columns, rank * own, (rank + 1) * own);
      const table = parameter(values.table, [5, size]);
      const [bias, scale, gain, shift] = [values.bias, values.scale, values.gain, values.shift].map((each) =>
        parameter(each, [size]),
      ) as [Parameter, Parameter, Parameter, Parameter];
      const shape = [rows / share, size];
      const tape = new Tape({ length });
      const y = tape.record(() => {
        const x = embedding(tensor(device, part(ids, 1), [rows / share]), table, { share });
        const first = addRmsNorm(addBias(x, bias, { share }), tensor(device, part(residual, size), shape), scale, 1e-5, {
          share,
        });
        const dropped = dropout(first.normed, {
          probability: 0.25,
          seed: 1,
          step: 2,
          site: 3,
          firstToken: 100 + rank * own,
          runs: { run: own, stride: length },
        });
        return addLayerNorm(dropped, first.sum, gain, shift, 1e-5, { share }).normed;
      });
      tape.backward(y, tensor(device, part(dy, size), shape));
      const all = [table, bias, scale, gain, shift];
      const read = Promise.all([y.read(), ...all.map(({ grad }) => grad!.read())]);
      for (const made of all) made.dispose();
      return read;
    });
  const [whole, ...gradients] = await expectNoLeaks(() => pass(0, 1));
  for (const share of [2, 4, 8]) {
    const parts = await Promise.all(Array.from({ length: share }, (_, rank) => pass(rank, share)));
    for (const [rank, part] of parts.entries()) {
      expect(part[0]).toEqual(positions(whole, length, size, (rank * length) / share, ((rank + 1) * length) / share));
    }
    for (const [index, gradient] of gradients.entries()) expect(added(parts.map((part) => part[index + 1]!))).toEqual(gradient);
  }
});

it('ranks with parts of the vocabulary have the embeddings, losses and gradients of the whole', async () => {
  const vocabulary = 200;
  const w = wave(vocabulary * size, 8);
  const targets = Int32Array.from({ length: rows }, (_, index) => (index % 5 === 0 ? -1 : (index * 37) % vocabulary));
  const ids = targets.map((target) => Math.abs(target));
  const weight = 1 / 13;
  const whole = await scope(() => {
    const head = parameter(w, [vocabulary, size]);
    const tape = new Tape({ length });
    const h = tape.record(() => embedding(tensor(device, ids, [rows]), head));
    const leaf = tensor(device, wave(rows * size, 9), [rows, size]);
    tape.track(leaf);
    const losses = tape.record(() => crossEntropy(leaf, head, tensor(device, targets, [rows]), { weight }));
    const [dh] = tape.backward(losses, undefined, [leaf]);
    const values = Promise.all([h.read(), losses.read(), dh!.read(), head.grad!.read()]);
    head.dispose();
    return values;
  });
  // 13 units of 16 rows: 6 on one rank, 7 on the other.
  const bounds = [0, 96, 200];
  await expectNoLeaks(async () => {
    const made: Tensor[] = [];
    const own = <T extends Tensor>(each: T): T => {
      made.push(each);
      return each;
    };
    const targetRows = own(tensor(device, targets, [rows]));
    const idRows = own(tensor(device, ids, [rows]));
    const h = own(tensor(device, wave(rows * size, 9), [rows, size]));
    const parts = [0, 1].map((rank) => {
      const [from, to] = [bounds[rank]!, bounds[rank + 1]!];
      const head = own(parameter(w.slice(from * size, to * size), [to - from, size]));
      const shard = { firstRow: from, tableRows: vocabulary };
      const { logits, maxima } = vocabularyLogits(h, head);
      return { shard, head, logits: own(logits), maxima: own(maxima), found: own(embedding(idRows, head, shard)) };
    });
    const [low, high] = await Promise.all(parts.map(({ maxima }) => maxima.read()));
    const most = own(
      tensor(
        device,
        low!.map((value, index) => Math.max(value, high![index]!)),
        [rows],
      ),
    );
    const [sums, others] = parts.map(({ logits, shard }) => own(vocabularyExponentials(logits, most, targetRows, shard)));
    addInto(sums!, others!);
    const ends = parts.map(({ logits, head, shard }) => {
      const losses = own(vocabularyLosses(logits, most, sums!, targetRows, { firstRow: shard.firstRow, weight }));
      const tape = new Tape({ length });
      tape.push({
        operation: 'vocabulary loss',
        outputs: [losses],
        saved: [h, logits],
        startsBackward: true,
        backward: (gradients) => giveWeightGradient(gradients, tape, h, logits, head, undefined),
      });
      tape.backward(losses);
      return { losses, dh: own(vocabularyInputGradient(logits, head, shard)) };
    });
    const [found, losses, dh, dhead] = whole;
    addInto(parts[0]!.found, parts[1]!.found);
    expect(await parts[0]!.found.read()).toEqual(found);
    expect(await Promise.all(ends.map((end) => end.losses.read()))).toEqual([losses, losses]);
    expect(added(await Promise.all(ends.map((end) => end.dh.read())))).toEqual(dh);
    const dparts = await Promise.all(parts.map(({ head }) => head.grad!.read()));
    expect([...dparts[0]!, ...dparts[1]!]).toEqual([...dhead]);
    for (const each of made) each.dispose();
  });
});

it('ranks with parts of the gradients get the global norm of all, whatever the parts', async () => {
  await expectNoLeaks(async () => {
    const values = wave(1000, 11);
    const norms = await scope(() => {
      const whole = globalNorm(device, [tensor(device, values, [1000])]);
      const parts = [values.slice(0, 7), values.slice(7, 600), values.slice(600)].map((part) => [
        tensor(device, part, [part.length]),
      ]);
      const largest = squaresMax(device, parts.flat());
      const totals = parts.map((part) => squaresSum(device, part, largest));
      const one = normOf(squaresSum(device, parts.flat(), largest), largest);
      return Promise.all([whole.read(), one.read(), largest.read(), Promise.all(totals.map((total) => total.readIntegers()))]);
    });
    const [whole, one, largest, totals] = norms;
    expect(one).toEqual(whole);
    const together = await scope(() => {
      const gathered = tensor(
        device,
        Int32Array.from([...totals.flatMap((total) => [...total]), 0, 0, 0, 0, 0, 0, 0, 0]),
        [4, 8],
      );
      return normOf(gathered, tensor(device, largest, [1])).read();
    });
    expect(together).toEqual(whole);
    expect(await scope(() => globalNorm(device, [full(device, [3], 0)]).read())).toEqual(Float32Array.of(0));
  });
});

function parameter(values: Float32Array, shape: readonly number[]): Parameter {
  const made = emptyParameter(device, shape, 'w');
  made.write(values);
  return made;
}

function wave(count: number, seed: number): Float32Array {
  return Float32Array.from({ length: count }, (_, index) => Math.sin((index + 1) * (seed + 0.1)));
}

/** Columns [from, to) of a matrix of `width` columns. */
function columns(values: Float32Array, width: number, from: number, to: number): Float32Array {
  return values.filter((_, index) => index % width >= from && index % width < to);
}

/** Positions [from, to) of every sequence of `length` rows of `width` columns. */
function positions<T extends Float32Array | Int32Array>(values: T, length: number, width: number, from: number, to: number): T {
  return values.filter((_, index) => Math.floor(index / width) % length >= from && Math.floor(index / width) % length < to) as T;
}

/** Element by element in the balanced tree over ranks. */
function added(parts: readonly Float32Array[]): Float32Array {
  const [first, ...rest] = parts;
  if (!first || rest.length === 0) return first ?? new Float32Array();
  const half = parts.length / 2;
  const [low, high] = [added(parts.slice(0, half)), added(parts.slice(half))];
  return low.map((value, index) => value + high[index]!);
}
