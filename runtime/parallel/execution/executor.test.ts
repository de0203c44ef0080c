import { expect, it } from 'vitest';
import type { Tensor } from '#runtime/tensor/main.ts';
import { buildSchedule, timelineFigures, withCommunication } from '../schedule/main.ts';
import type { Schedule, Span, StageCost } from '../schedule/main.ts';
import { bubbleShare } from '../schedule/timing/formulas.ts';
import { simulate } from '../schedule/timing/simulate.ts';
import { Executor } from './executor.ts';
import type { Grain } from './grains.ts';
import type { ComputeObserver } from './observer.ts';
import type { StageWork } from './stage.ts';

/** A stream in virtual time: what is enqueued runs in order, takes as long as it says, and begins once what it waits for has ended. */
class VirtualStream {
  /** When JavaScript last learned that something had ended: nothing that it enqueues can begin before. */
  #host = 0;
  #end: Promise<number> = Promise.resolve(0);

  enqueue(duration: number, ...waits: Promise<number>[]): Promise<number> {
    const host = this.#host;
    this.#end = Promise.all([this.#end, ...waits]).then((times) => Math.max(host, ...times) + duration);
    return this.#end;
  }

  async sync(): Promise<void> {
    this.#host = Math.max(this.#host, await this.#end);
  }
}

/** Tensors of one boundary and direction on their way, in order, each with the time at which it arrives. */
class VirtualChannel {
  readonly #arrivals: PromiseWithResolvers<number>[] = [];
  #sent = 0;
  #received = 0;

  send(at: Promise<number>): void {
    this.#arrival(this.#sent++).resolve(at);
  }

  receive(): Promise<number> {
    return this.#arrival(this.#received++).promise;
  }

  #arrival(index: number): PromiseWithResolvers<number> {
    return (this.#arrivals[index] ??= Promise.withResolvers<number>());
  }
}

const nothing = { dispose() {} } as unknown as Tensor;

/** Stages that only take time. */
function syntheticStage(schedule: Schedule, number: number, cost: StageCost, stream: VirtualStream): StageWork {
  const [isFirst, isLast] = [number === 0, number === schedule.stages - 1];
  return {
    isFirst,
    isLast,
    inFlight: 0,
    unshard() {},
    reshard() {},
    reduce() {},
    clear() {},
    evaluate: () => nothing,
    forward() {
      void stream.enqueue(cost.forward);
      return isLast ? undefined : nothing;
    },
    backward(_grain, _step, _gradient, { weights }) {
      void stream.enqueue(cost.backwardInput + (weights === 'later' ? 0 : cost.backwardWeight));
      return { input: isFirst ? undefined : nothing, loss: isLast ? nothing : undefined };
    },
    backwardWeights: () => void stream.enqueue(cost.backwardWeight),
  };
}

/** Runs one executor per rank at the same time; what their observers saw. */
async function measured(schedule: Schedule, cost: StageCost): Promise<Span[]> {
  const channels = new Map<string, VirtualChannel>();
  const channel = (direction: string, boundary: number) => {
    const key = `${direction} ${boundary}`;
    if (!channels.has(key)) channels.set(key, new VirtualChannel());
    return channels.get(key)!;
  };
  const grains = Array.from(
    { length: schedule.grains },
    (_, index) => ({ index, isLast: index === schedule.grains - 1 }) as Grain,
  );
  const spans: Promise<Span>[] = [];
  const run = async (rank: number) => {
    const stream = new VirtualStream();
    let finish: ((end: Promise<number>) => void) | undefined;
    const observer: ComputeObserver = {
      begin(computation) {
        const begin = stream.enqueue(0);
        if (!('action' in computation)) return;
        finish = (end) =>
          spans.push(Promise.all([begin, end]).then((at) => ({ ...computation.action, rank, start: at[0], end: at[1] })));
      },
      end: () => finish?.(stream.enqueue(0)),
    };
    const own = [...schedule.placement.keys()].filter((stage) => schedule.placement[stage] === rank);
    const executor = new Executor({
      device: stream,
      stages: new Map(own.map((stage) => [stage, syntheticStage(schedule, stage, cost, stream)])),
      actions: schedule.actions[rank]!,
      transfers: {
        send: (_tensor, direction, boundary) => channel(direction, boundary).send(stream.enqueue(0)),
        receive(_shape, direction, boundary) {
          void stream.enqueue(0, channel(direction, boundary).receive());
          return nothing;
        },
      },
      placement: schedule.placement,
      share: 1,
      boundaryShape: [1, 1],
      observer,
    });
    let losses = 0;
    await executor.run(grains, { step: 1, weight: 1 }, () => (losses += 1));
    return losses;
  };
  const losses = await Promise.all(schedule.actions.map((_, rank) => run(rank)));
  expect(losses.reduce((sum, count) => sum + count, 0)).toBe(schedule.grains);
  return await Promise.all(spans);
}

const schedules = [
  ['gpipe', 1],
  ['1f1b', 1],
  ['interleaved', 2],
  ['interleaved', 4],
  ['zb1p', 1],
  ['zbv', 2],
  ['dualpipev', 2],
] as const;

it.each(schedules)(
  '%s with %i stages on each of 4 ranks loses what the formula says to its bubble',
  async (schedule, stagesPerRank) => {
    const cost = { forward: 3, backwardInput: 3, backwardWeight: 3 };
    for (const grains of [8, 16, 32]) {
      const wishes = { schedule, pipeline: 4, stagesPerRank, grains };
      const { bubble } = timelineFigures(await measured(withCommunication(buildSchedule(wishes)), cost));
      expect(bubble).toBeCloseTo(bubbleShare(wishes, cost)!, 12);
    }
  },
);

it.each(schedules)(
  '%s with %i stages on each of 4 ranks runs as it was simulated where the passes differ',
  async (schedule, stagesPerRank) => {
    const cost = { forward: 4, backwardInput: 5, backwardWeight: 3 };
    const built = withCommunication(buildSchedule({ schedule, pipeline: 4, stagesPerRank, grains: 8 }));
    const figures = timelineFigures(await measured(built, cost));
    const { length, bubble, ranks } = simulate(built, cost);
    expect([figures.length, figures.bubble, figures.ranks]).toEqual([length, bubble, ranks]);
  },
);
