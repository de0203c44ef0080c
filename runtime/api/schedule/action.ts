// A pipeline schedule as data: what each rank does, in which order.

/** What shares a rank's compute stream; `backward` is `backwardInput` and `backwardWeight` in one. */
export type ComputeType = 'forward' | 'backward' | 'backwardInput' | 'backwardWeight';
type TransferType = 'sendForward' | 'receiveForward' | 'sendBackward' | 'receiveBackward';
type ShardType = 'unshard' | 'reshard' | 'reduce';
export type ActionType = ComputeType | TransferType | ShardType;

/**
 * One step of a rank. `stage` is a stage of that rank: a send names the stage whose output it sends, a receive the stage that
 * gets it. `unshard` gathers a stage's weights, `reshard` frees them, `reduce` adds a stage's gradients over the data ranks: all
 * grains so far, or the one named.
 */
export interface Action {
  readonly type: ActionType;
  readonly stage: number;
  /** Always present on compute and transfers, never on `unshard` and `reshard`. */
  readonly grain?: number;
}

/** An action that belongs to one grain. */
export interface GrainAction extends Action {
  readonly type: ComputeType | TransferType;
  readonly grain: number;
}

export type GeneratedSchedule = 'gpipe' | '1f1b' | 'interleaved' | 'zb1p' | 'zbv' | 'dualpipev';
/** `spec.parallelism.schedule`. `csv`: the user's own. */
export type ScheduleName = GeneratedSchedule | 'csv';

export interface Schedule {
  /** A `GeneratedSchedule`, or what a text calls itself. */
  readonly name: string;
  readonly ranks: number;
  readonly stages: number;
  /** Grains (microbatches) that each rank works through in a step. */
  readonly grains: number;
  /** Rank of each stage. */
  readonly placement: readonly number[];
  /** Of each rank, in the order in which it starts them. */
  readonly actions: readonly (readonly Action[])[];
}

export function isCompute<A extends Action>(action: A): action is A & { readonly type: ComputeType; readonly grain: number } {
  const { type } = action;
  return type === 'forward' || type === 'backward' || type === 'backwardInput' || type === 'backwardWeight';
}

/** Whether the action computes with the weights of its stage: a weight gradient needs what went through them only. */
export function usesWeights(type: ActionType): boolean {
  return type === 'forward' || givesInputGradient(type);
}

/** Whether the gradient towards the stage before is ready once the action has ended. */
export function givesInputGradient(type: ActionType): boolean {
  return type === 'backward' || type === 'backwardInput';
}

/** Whether the grain's activations are free, and its weight gradient is added, once the action has ended. */
export function givesWeightGradient(type: ActionType): boolean {
  return type === 'backward' || type === 'backwardWeight';
}

/** `backwardInput of stage 3, grain 5`. */
export function describeAction({ type, stage, grain }: Action): string {
  return `${type} of stage ${stage}${grain === undefined ? '' : `, grain ${grain}`}`;
}
