// What follows from the order in which a rank computes: activations held, and gathers of weights.
import { UnitSlots } from '../execution/unit-slots.ts';

/** An action of a pipeline schedule, as far as the plan looks at it. */
export interface OrderedAction {
  readonly type: string;
  readonly stage: number;
}

/** Bytes of activations of one stage and grain. */
export interface StageActivations {
  /** From the forward pass to the backward pass. */
  readonly kept: number;
  /** From the input gradient to the weight gradient, where they are apart. */
  readonly deferred: number;
  /** Besides what is kept while the forward or the backward pass runs. */
  readonly working: number;
  /** Besides what is deferred when a backward pass that defers weight gradients ends. */
  readonly deferring: number;
}

/** The most that is held at one time. */
export function activationBytes(actions: readonly OrderedAction[], stages: ReadonlyMap<number, StageActivations>): number {
  let [held, most] = [0, 0];
  for (const { type, stage } of actions) {
    const sizes = stages.get(stage);
    if (!sizes || !computes.has(type)) continue;
    const { kept, deferred, working, deferring } = sizes;
    if (type === 'forward') held += kept;
    if (type !== 'backwardWeight') most = Math.max(most, held + working);
    if (type === 'backward') held -= kept;
    if (type === 'backwardInput') {
      held += deferred - kept;
      most = Math.max(most, held + deferring);
    }
    if (type === 'backwardWeight') held -= deferred;
  }
  return most;
}

/**
 * How often each unit is gathered in a step. `stages` lists the units of each stage in order; `head` is the one that only a backward pass uses.
 * The actions say themselves when the weights of a stage come and go.
 */
export function gatherCounts<Unit>(
  actions: readonly OrderedAction[],
  stages: ReadonlyMap<number, readonly Unit[]>,
  head: Unit | undefined,
  slots: number,
): Map<Unit, number> {
  const counts = new Map<Unit, number>();
  const table = new UnitSlots<Unit>(slots, {
    fill: (_, unit) => counts.set(unit, (counts.get(unit) ?? 0) + 1),
    empty() {},
  });
  const compute = (unit: Unit, next: Unit | undefined) => {
    table.use(unit);
    table.prefetch(next);
    table.done(unit);
  };
  for (const [at, { type, stage }] of actions.entries()) {
    const units = stages.get(stage) ?? [];
    if (type === 'unshard') {
      const next = actions.find((action, index) => index > at && action.stage === stage && uses.has(action.type));
      table.unshard(next?.type === 'forward' ? units.filter((unit) => unit !== head) : units.toReversed());
    }
    if (type === 'reshard') table.reshard(units);
    if (type === 'forward') for (const [at, unit] of units.entries()) if (unit !== head) compute(unit, units[at + 1]);
    if (type === 'backward' || type === 'backwardInput') {
      if (head !== undefined && units.at(-1) === head) compute(head, units.at(-2));
      for (const [at, unit] of [...units.entries()].toReversed()) compute(unit, units[at - 1]);
    }
  }
  return counts;
}

const computes: ReadonlySet<string> = new Set(['forward', 'backward', 'backwardInput', 'backwardWeight']);
const uses: ReadonlySet<string> = new Set(['forward', 'backward', 'backwardInput']);
