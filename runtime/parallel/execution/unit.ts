// A unit of execution: the embedding, a block, or the final norm with the head; what is gathered, computed and reduced together.
import type { FlatState } from './flat-state.ts';
import type { MemberGradients, PlacedParameter } from './gradient-sums.ts';

/** A flat run of parameters that a unit computes with. A tied head is a member of the last unit with the state of the token table. */
export interface UnitMember {
  readonly state: FlatState;
  readonly parameters: readonly PlacedParameter[];
  readonly gradients: MemberGradients;
  /** Whether another rank holds the same parameters for their other use: the token table of a tied head. */
  readonly isTied: boolean;
}

export interface Unit {
  /** 0: the embedding; 1 to the number of layers: blocks; then the final norm and the head. */
  readonly index: number;
  readonly members: readonly UnitMember[];
}
