// What follows from the order in which a rank computes: activations held, gradient buffers, gathers of weights.

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
    if (!sizes) continue;
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
 * Gradient buffers of a unit of `stage`: one for each grain between the beginning of its backward pass and its weight gradient, and those of
 * the binary tree in which grains are added, one for each bit of their count.
 */
export function gradientBuffers(actions: readonly OrderedAction[], stage: number): number {
  let [open, added, most] = [0, 0, 0];
  for (const action of actions) {
    if (action.stage !== stage) continue;
    if (action.type === 'backward' || action.type === 'backwardInput') {
      open += 1;
      most = Math.max(most, open + bits(added));
    }
    if (action.type === 'backward' || action.type === 'backwardWeight') {
      open -= 1;
      added += 1;
    }
  }
  return most;
}

function bits(count: number): number {
  let ones = 0;
  for (let rest = count; rest > 0; rest = Math.floor(rest / 2)) ones += rest % 2;
  return ones;
}

/** How often each unit is gathered in a step. `stages` lists the units of each stage in order; `head` is the one that only a backward pass uses. */
export function gatherCounts<Unit>(
  actions: readonly OrderedAction[],
  stages: ReadonlyMap<number, readonly Unit[]>,
  head: Unit | undefined,
  slots: number,
): Map<Unit, number> {
  const counts = new Map<Unit, number>();
  /** Units that are gathered, the one used longest ago first. */
  const there: Unit[] = [];
  const gather = (unit: Unit | undefined, inUse?: Unit) => {
    if (unit === undefined || there.includes(unit)) return;
    if (there.length >= slots) {
      const goes = there.findIndex((other) => other !== inUse);
      if (goes < 0) return;
      there.splice(goes, 1);
    }
    there.unshift(unit);
    counts.set(unit, (counts.get(unit) ?? 0) + 1);
  };
  const use = (unit: Unit, next: Unit | undefined) => {
    gather(unit);
    there.splice(there.indexOf(unit), 1);
    there.push(unit);
    gather(next, unit);
  };
  for (const { type, stage } of actions) {
    const units = stages.get(stage) ?? [];
    if (type === 'forward') for (const [at, unit] of units.entries()) if (unit !== head) use(unit, units[at + 1]);
    if (type === 'backward' || type === 'backwardInput') {
      if (head !== undefined && units.at(-1) === head) use(head, undefined);
      for (let at = units.length - 1; at >= 0; at -= 1) use(units[at]!, units[at - 1]);
    }
  }
  return counts;
}
