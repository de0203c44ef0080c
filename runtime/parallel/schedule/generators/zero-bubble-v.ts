// ZBV: two stages per rank in a V, backward in halves, so that no rank waits between its first and its last action.
import type { GrainAction } from '#runtime/api/schedule/action.ts';
import { Program, repeat } from './program.ts';

/**
 * ZB-V of Qi et al. (arXiv 2401.10241, section 6, and 2405.15362): the activations of 1F1B's first rank, spread evenly. A step of
 * fewer than 2p - 1 grains runs the pattern of 2p - 1 with gaps.
 */
export function zeroBubbleV(ranks: number, rank: number, grains: number): GrainAction[] {
  const program = new Program(grains);
  const down = rank;
  const up = 2 * ranks - 1 - rank;
  const backward = (stage: number) => {
    program.backwardInput(stage);
    program.backwardWeight();
  };
  repeat(2 * (ranks - rank) - 1, () => program.forward(down));
  repeat(rank, () => {
    program.forward(up);
    program.forward(down);
  });
  repeat(ranks - rank, () => {
    program.forward(up);
    backward(up);
  });
  const started = 2 * ranks - rank - 1;
  repeat(Math.max(2 * ranks - 1, grains) - started, () => {
    program.forward(down);
    backward(down);
    program.forward(up);
    backward(up);
  });
  repeat(ranks - rank - 1, () => {
    backward(down);
    program.forward(up);
    backward(up);
  });
  repeat(rank, () => {
    program.backwardInput(down);
    program.backwardInput(up);
  });
  repeat(ranks - rank, () => {
    program.backwardInput(down);
    program.backwardWeight();
  });
  program.backwardWeights();
  return program.actions;
}
