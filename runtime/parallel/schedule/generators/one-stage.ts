// Schedules with one stage per rank: GPipe, 1F1B and ZB1P.
import type { GrainAction } from '#runtime/api/schedule/action.ts';
import { Program, repeat } from './program.ts';

/** All forwards, then all backwards (Huang et al., arXiv 1811.06965). */
export function gpipe(_ranks: number, rank: number, grains: number): GrainAction[] {
  const program = new Program(grains);
  repeat(grains, () => program.forward(rank));
  repeat(grains, () => program.backward(rank));
  return program.actions;
}

/**
 * As few forwards as keep the ranks below busy, then one forward, one backward (Narayanan et al., arXiv 2104.04473, section
 * 2.2.1).
 */
export function oneForwardOneBackward(ranks: number, rank: number, grains: number): GrainAction[] {
  const program = new Program(grains);
  const warmup = Math.min(grains, ranks - rank - 1);
  repeat(warmup, () => program.forward(rank));
  repeat(grains - warmup, () => {
    program.forward(rank);
    program.backward(rank);
  });
  repeat(warmup, () => program.backward(rank));
  return program.actions;
}

/**
 * 1F1B whose weight gradients run `rank` grains late, so that the last ones fill the end of the step, when later ranks have
 * nothing else to do (ZB-H1 of Qi et al., arXiv 2401.10241): less bubble at the activations of 1F1B's first rank on every rank.
 */
export function zeroBubbleOne(ranks: number, rank: number, grains: number): GrainAction[] {
  const program = new Program(grains);
  const warmup = Math.min(grains, ranks - rank - 1);
  const backward = (index: number) => {
    program.backwardInput(rank);
    if (index >= rank) program.backwardWeight();
  };
  repeat(warmup, () => program.forward(rank));
  repeat(grains - warmup, (index) => {
    program.forward(rank);
    backward(index);
  });
  repeat(warmup, (index) => backward(grains - warmup + index));
  program.backwardWeights();
  return program.actions;
}
