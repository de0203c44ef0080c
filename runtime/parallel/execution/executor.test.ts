import { expect, it } from 'vitest';
import type { Tensor } from '#runtime/tensor/main.ts';
import { buildSchedule, timelineFigures, withCommunication, withSharding } from '../schedule/main.ts';
import type { Action, Schedule, Span, StageCost } from '../schedule/main.ts';
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

/** What one rank does to its stages, with a schedule of its own. */
async function calls(actions: readonly Action[], grains: number): Promise<string[]> {
  const log: string[] = [];
  const stageOf = (number: number): StageWork => ({
    isFirst: true,
    isLast: true,
    inFlight: 0,
    clear() {},
    evaluate: () => nothing,
    unshard: (pass) => log.push(`unshard ${number} ${pass}`),
    reshard: () => log.push(`reshard ${number}`),
    reduce: (isLast) => log.push(`reduce ${number}${isLast ? ' last' : ''}`),
    forward: ({ index }) => void log.push(`F${number}.${index}`),
    backward({ index }, _step, _gradient, { weights, reduces }) {
      log.push(`${weights === 'now' ? 'B' : 'I'}${number}.${index}${reduces ? ' reducing' : ''}`);
      return { input: undefined, loss: nothing };
    },
    backwardWeights: ({ index }, reduces) => log.push(`W${number}.${index}${reduces ? ' reducing' : ''}`),
  });
  const executor = new Executor({
    device: { sync: async () => {} },
    stages: new Map([
      [0, stageOf(0)],
      [1, stageOf(1)],
    ]),
    actions,
    transfers: { send() {}, receive: () => nothing },
    placement: [0, 0],
    share: 1,
    boundaryShape: [1, 1],
  });
  const all = Array.from({ length: grains }, (_, index) => ({ index, isLast: index === grains - 1 }) as Grain);
  await executor.run(all, { step: 1, weight: 1 }, () => {});
  return log;
}

it('gathers, gives back and reduces when the schedule says so', async () => {
  const { actions } = buildSchedule({ schedule: '1f1b', pipeline: 1, stagesPerRank: 1, grains: 2 });
  const schedule = { name: 'own', ranks: 1, stages: 1, grains: 2, placement: [0], actions };
  expect(await calls(withSharding(schedule, { reshardAfterForward: true }).actions[0]!, 2)).toEqual([
    'unshard 0 forward',
    'F0.0',
    'B0.0',
    'F0.1',
    'B0.1 reducing',
    'reshard 0',
  ]);
});

it('reduces where the schedule says, however much was computed since', async () => {
  const stage = (number: number, grain: number): Action[] => [
    { type: 'forward', stage: number, grain },
    { type: 'backwardInput', stage: number, grain },
    { type: 'backwardWeight', stage: number, grain },
  ];
  const actions: Action[] = [
    ...stage(0, 0),
    ...stage(0, 1),
    { type: 'reduce', stage: 0, grain: 0 },
    ...stage(1, 0),
    { type: 'reduce', stage: 0, grain: 1 },
    { type: 'unshard', stage: 1 },
    { type: 'reduce', stage: 1, grain: 0 },
    ...stage(1, 1),
    { type: 'reduce', stage: 1, grain: 1 },
  ];
  expect(await calls(actions, 2)).toEqual([
    'F0.0',
    'I0.0',
    'W0.0',
    'F0.1',
    'I0.1',
    'W0.1',
    'reduce 0',
    'F1.0',
    'I1.0',
    'W1.0 reducing',
    'reduce 0 last',
    'unshard 1 forward',
    'F1.1',
    'I1.1',
    'W1.1 reducing',
  ]);
});
