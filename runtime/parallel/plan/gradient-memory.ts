// Memory for gradients, from the order in which a rank computes and reduces them: the buffers of an execution, without their values.
import { BufferPool } from '../execution/buffer-pool.ts';
import { GradientTree } from '../execution/gradient-tree.ts';
import { joinedReductions } from '../schedule/main.ts';
import type { Action } from '../schedule/main.ts';

interface Buffer {
  readonly elements: number;
}

/** What of a unit lies in one flat memory. */
interface Run {
  readonly size: number;
  readonly shardSize: number;
}

export interface GradientUnit {
  readonly runs: readonly Run[];
}

export interface ReductionWay {
  readonly dataShard: number;
  readonly zero: 1 | 2 | 3;
  readonly reduceEveryGrain: boolean;
}

/**
 * Elements of all buffers that a rank makes in a step; later steps take the same ones. A whole gradient is given on to other units once it is
 * added to another, or reduced to a shard of it.
 *
 * @param stages units of each stage of the rank, in order.
 */
export function gradientElements(
  actions: readonly Action[],
  stages: ReadonlyMap<number, readonly GradientUnit[]>,
  way: ReductionWay,
): number {
  let made = 0;
  const make = (elements: number): Buffer => {
    made += elements;
    return { elements };
  };
  const [wholes, shards] = [new BufferPool(make), new BufferPool(make)];
  const sums = new Map(
    [...stages.values()].flat().map((unit) => [unit, unit.runs.map((run) => new RunSums(run, way, wholes, shards))] as const),
  );
  const waiting: GradientUnit[] = [];
  const reduce = (unit: GradientUnit) => {
    const read = sums.get(unit)!.map((each) => each.reduce());
    if (way.dataShard > 1) wholes.giveLate(read);
  };
  const take = (unit: GradientUnit) => {
    if (way.dataShard > 1 && way.zero === 1) waiting.push(unit);
    else reduce(unit);
  };
  const joined = joinedReductions(actions);
  const isJoined = new Set(joined.values());
  for (const [at, { type, stage }] of actions.entries()) {
    if (type === 'forward') wholes.settle();
    const backwards = (stages.get(stage) ?? []).toReversed();
    const each = (unit: GradientUnit, what: (run: RunSums) => void) => sums.get(unit)!.forEach(what);
    for (const unit of backwards) {
      if (type === 'backward' || type === 'backwardInput') each(unit, (run) => run.open());
      if (type === 'backward' || type === 'backwardWeight') {
        each(unit, (run) => run.close());
        if (joined.has(at)) take(unit);
      }
      if (type === 'reduce' && !isJoined.has(at)) take(unit);
    }
  }
  waiting.forEach(reduce);
  return made;
}

/** As `GradientSums` and `GradientReducer` of an execution take and give buffers. */
class RunSums {
  readonly #run: Run;
  readonly #way: ReductionWay;
  readonly #wholes: BufferPool<Buffer>;
  readonly #shards: BufferPool<Buffer>;
  readonly #open: Buffer[] = [];
  readonly #grains: Buffer[] = [];
  readonly #own: GradientTree<Buffer>;
  readonly #reduced: GradientTree<Buffer>;

  constructor(run: Run, way: ReductionWay, wholes: BufferPool<Buffer>, shards: BufferPool<Buffer>) {
    this.#run = run;
    this.#way = way;
    this.#wholes = wholes;
    this.#shards = shards;
    this.#own = treeOf(wholes);
    this.#reduced = treeOf(shards);
  }

  open(): void {
    this.#open.push(this.#wholes.take(this.#run.size));
  }

  close(): void {
    const whole = this.#open.shift()!;
    if (this.#way.reduceEveryGrain) this.#grains.push(whole);
    else this.#own.add(whole);
  }

  /** What is read. */
  reduce(): Buffer {
    const whole = this.#way.reduceEveryGrain ? this.#grains.shift()! : this.#own.finish();
    if (this.#way.dataShard > 1) this.#reduced.add(this.#shards.take(this.#run.shardSize));
    return whole;
  }
}

function treeOf(pool: BufferPool<Buffer>): GradientTree<Buffer> {
  return new GradientTree((older, newer) => {
    pool.give(newer);
    return older;
  });
}
