// Runs a schedule on paper: when each action starts and ends, given what each costs.
import type { Action, Schedule } from '#runtime/api/schedule/action.ts';
import { givesWeightGradient, isCompute } from '#runtime/api/schedule/action.ts';
import type { Figures, Span } from './figures.ts';
import { timelineFigures } from './figures.ts';
import { walk } from '#runtime/api/schedule/walk.ts';

/** Times of one stage for one grain, in any one unit. A full backward takes `backwardInput` + `backwardWeight`. */
export interface StageCost {
  readonly forward: number;
  readonly backwardInput: number;
  readonly backwardWeight: number;
  /** The stage's output to the next stage, or its input gradient to the one before, if that is on another rank. Default 0. */
  readonly send?: number;
  /** Gathering the weights. Default 0. */
  readonly unshard?: number;
  /** Default 0. */
  readonly reduce?: number;
}

export interface Simulation extends Figures {
  /** In an order that respects what each action needs. */
  readonly spans: readonly Span[];
  /** End of the last action of any kind; `length` counts from the first to the last compute action. */
  readonly total: number;
  /** Most grains whose activations are held at one time, of each rank over all its stages, and of each stage. */
  readonly inFlight: InFlight;
}

interface InFlight {
  readonly ranks: readonly number[];
  readonly stages: readonly number[];
}

/**
 * `costs`: one for each stage, or one for all. A rank computes one action at a time in the order of the schedule; each boundary
 * and direction carries one tensor at a time beside that; gathering and reducing of a rank run one at a time beside both,
 * starting when the rank gets to them. The schedule may or may not have communication in it, which makes no difference in time.
 * Throws ScheduleError for a schedule that deadlocks.
 */
export function simulate(schedule: Schedule, costs: StageCost | readonly StageCost[]): Simulation {
  const costOf = (stage: number): StageCost => ('forward' in costs ? costs : costs[stage]!);
  const spans: Span[] = [];
  const ends = new Map<Action, number>();
  const computing = new Array<number>(schedule.ranks).fill(0);
  const sharding = new Array<number>(schedule.ranks).fill(0);
  const gathered = new Array<number>(schedule.stages).fill(0);
  const channels = new Map<string, number>();
  /** When what `from` gives has reached another stage. */
  const transfer = (from: Action, to: string, take: (start: number, end: number) => void) => {
    const channel = `${from.stage} ${to}`;
    const start = Math.max(channels.get(channel) ?? 0, ends.get(from)!);
    const end = start + (costOf(from.stage).send ?? 0);
    channels.set(channel, end);
    take(start, end);
  };
  walk(schedule, ({ rank, action }, needs) => {
    const { type, stage } = action;
    const cost = costOf(stage);
    const add = (start: number, end: number) => {
      ends.set(action, end);
      spans.push({ ...action, rank, start, end });
    };
    if (isCompute(action)) {
      let start = Math.max(computing[rank]!, gathered[stage]!);
      for (const need of needs) {
        if (need.rank === rank) start = Math.max(start, ends.get(need.action)!);
        else transfer(need.action, type, (_, arrival) => (start = Math.max(start, arrival)));
      }
      computing[rank] = start + durationOf(action.type, cost);
      add(start, computing[rank]);
    } else if (type === 'sendForward' || type === 'sendBackward') {
      transfer(needs[0]!.action, type, add);
    } else if (type === 'receiveForward' || type === 'receiveBackward') {
      const end = ends.get(needs[0]!.action)!;
      add(end - (costOf(needs[0]!.action.stage).send ?? 0), end);
    } else if (type === 'reshard') {
      add(computing[rank]!, computing[rank]!);
    } else {
      const start = Math.max(computing[rank]!, sharding[rank]!);
      sharding[rank] = start + ((type === 'unshard' ? cost.unshard : cost.reduce) ?? 0);
      if (type === 'unshard') gathered[stage] = sharding[rank];
      add(start, sharding[rank]);
    }
  });
  const total = spans.reduce((most, { end }) => Math.max(most, end), 0);
  return { ...timelineFigures(spans), spans, total, inFlight: activationsInFlight(schedule) };
}

/** Held from the start of the forward to the end of the weight gradient. Follows from the order alone, whatever the costs. */
function activationsInFlight(schedule: Schedule): InFlight {
  const stages = new Array<number>(schedule.stages).fill(0);
  const ranks = schedule.actions.map((actions) => {
    const held = new Map<number, number>();
    let all = 0;
    let most = 0;
    for (const { type, stage } of actions) {
      const change = type === 'forward' ? 1 : givesWeightGradient(type) ? -1 : 0;
      all += change;
      held.set(stage, (held.get(stage) ?? 0) + change);
      most = Math.max(most, all);
      stages[stage] = Math.max(stages[stage]!, held.get(stage)!);
    }
    return most;
  });
  return { ranks, stages };
}

function durationOf(type: 'forward' | 'backward' | 'backwardInput' | 'backwardWeight', cost: StageCost): number {
  return type === 'backward' ? cost.backwardInput + cost.backwardWeight : cost[type];
}
