// Where activations pass between what every rank of a tensor group has and what each holds a part of; the backward pass goes the other way.
import { empty, gatherRows, recordingTape, tensor, unscoped, view } from '#runtime/tensor/main.ts';
import type { Communicator, Stream, Tensor } from '#runtime/tensor/main.ts';

export interface GroupExchange extends Disposable {
  /** Between blocks a rank has 1 / `share` of the positions. */
  readonly share: number;
  /** Before a layer cut by outputs: [M / share, D] -> [M, D]. */
  enter(x: Tensor): Tensor;
  /** After a layer cut by inputs, whose result is a part of each sum: [M, D] -> [M / share, D]. */
  leave(x: Tensor): Tensor;
}

interface ExchangeOptions {
  readonly group: Communicator;
  readonly stream: Stream;
  readonly length: number;
  readonly isSequenceParallel: boolean;
}

export function groupExchange(options: ExchangeOptions): GroupExchange {
  const way = options.isSequenceParallel ? overPositions(options) : overCopies(options);
  const gather: Way['gather'] = (x, pass) => way.gather(x, pass);
  const scatter: Way['scatter'] = (x, pass) => way.scatter(x, pass);
  const exchanged = (operation: string, x: Tensor, run: (x: Tensor) => Tensor, back: (dy: Tensor) => Tensor): Tensor => {
    const y = run(x);
    recordingTape(x)?.push({
      operation,
      outputs: [y],
      saved: [],
      backward(gradients) {
        const dy = gradients.of(y);
        if (dy) gradients.give(x, back(dy));
      },
    });
    return y;
  };
  return {
    share: way.share,
    enter: (x) =>
      exchanged(
        'enter group',
        x,
        (x) => gather(x, 'forward'),
        (dy) => scatter(dy, 'backward'),
      ),
    leave: (x) =>
      exchanged(
        'leave group',
        x,
        (x) => scatter(x, 'forward'),
        (dy) => gather(dy, 'backward'),
      ),
    [Symbol.dispose]: () => way[Symbol.dispose](),
  };
}

interface Way extends Disposable {
  readonly share: number;
  gather(x: Tensor, pass: string): Tensor;
  scatter(x: Tensor, pass: string): Tensor;
}

/** Every rank has all positions: what enters is there already, what leaves is summed. */
function overCopies({ group, stream }: ExchangeOptions): Way {
  return {
    share: 1,
    // The gradient stays the same tensor, so that whoever holds it, such as a weight gradient that waits, is seen to hold it.
    gather: (x, pass) => (pass === 'backward' ? x : view(x, 0, x.shape)),
    scatter(x: Tensor, pass: string): Tensor {
      const y = empty(x.device, x.shape, 'sum over the tensor group');
      group.allReduce(stream, x, 'sum', `tensor sum, ${pass}`, y);
      return y;
    },
    [Symbol.dispose]() {},
  };
}

/** Every rank has its part of each sequence: what enters is gathered, what leaves is summed and cut. */
function overPositions({ group, stream, length }: ExchangeOptions): Way {
  const orders = new Map<number, { readonly byRank: Tensor; readonly bySequence: Tensor }>();
  const run = length / group.size;
  /** Row numbers that bring rows from the order of sequences to that of ranks, and back. */
  const ordersOf = (rows: number, like: Tensor) => {
    const known = orders.get(rows);
    if (known) return known;
    const byRank = new Int32Array(rows);
    const bySequence = new Int32Array(rows);
    for (let row = 0; row < rows; row += 1) {
      const [sequence, position] = [Math.floor(row / length), row % length];
      const place = Math.floor(position / run) * (rows / group.size) + sequence * run + (position % run);
      byRank[place] = row;
      bySequence[row] = place;
    }
    const made = unscoped(() => ({
      byRank: tensor(like.device, byRank, [rows], 'rows by rank'),
      bySequence: tensor(like.device, bySequence, [rows], 'rows by sequence'),
    }));
    orders.set(rows, made);
    return made;
  };
  return {
    share: group.size,
    gather(x: Tensor, pass: string): Tensor {
      const rows = (x.shape[0] ?? 0) * group.size;
      const y = empty(x.device, [rows, x.columns], 'all positions', x.dtype);
      group.allGather(stream, x, y, `positions, ${pass}`);
      return rows === length ? y : gatherRows(y, ordersOf(rows, x).bySequence);
    },
    scatter(x: Tensor, pass: string): Tensor {
      const rows = x.shape[0] ?? 0;
      const ordered = rows === length ? x : gatherRows(x, ordersOf(rows, x).byRank);
      const y = empty(x.device, [rows / group.size, x.columns], 'own positions');
      group.reduceScatter(stream, ordered, y, `tensor sum, ${pass}`);
      return y;
    },
    [Symbol.dispose]() {
      for (const { byRank, bySequence } of orders.values()) {
        byRank.dispose();
        bySequence.dispose();
      }
    },
  };
}
