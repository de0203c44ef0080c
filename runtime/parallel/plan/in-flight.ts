// How many bytes of activations a rank holds at most while it works through its schedule.

/** Bytes of one stage and grain. */
export interface StageActivations {
  /** From the forward pass to the end of the weight gradient. */
  readonly kept: number;
  /** Besides that while the stage is computed. */
  readonly working: number;
}

/** The most that is held at one time; what is computed at any time counts with the working bytes of its stage. */
export function activationBytes(
  actions: readonly { readonly type: string; readonly stage: number }[],
  stages: ReadonlyMap<number, StageActivations>,
): number {
  let held = 0;
  let most = 0;
  for (const { type, stage } of actions) {
    const { kept = 0, working = 0 } = stages.get(stage) ?? {};
    const isCompute = type === 'forward' || type.startsWith('backward');
    if (!isCompute) continue;
    if (type === 'forward') held += kept;
    most = Math.max(most, held + working);
    if (type === 'backward' || type === 'backwardWeight') held -= kept;
  }
  return most;
}
