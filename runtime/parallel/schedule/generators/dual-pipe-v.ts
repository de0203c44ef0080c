// DualPipeV: two stages per rank in a V; in the steady state a forward of one chunk stands beside a backward of the other.
import type { GrainAction } from '#runtime/api/schedule/action.ts';
import { Program, repeat } from './program.ts';

/**
 * The V half of DualPipe (DeepSeek-V3 report, arXiv 2412.19437, section 3.2.1, cut in half as in
 * github.com/deepseek-ai/DualPipe). Needs 2p grains or more. A pair of forward and backward has different grains and no order
 * between them: a device that overlaps communication of one with computation of the other may run both at once.
 */
export function dualPipeV(ranks: number, rank: number, grains: number): GrainAction[] {
  const program = new Program(grains);
  const down = rank;
  const up = 2 * ranks - 1 - rank;
  const below = ranks - rank - 1;
  repeat(2 * below, () => program.forward(down));
  repeat(rank + 1, () => {
    program.forward(down);
    program.forward(up);
  });
  repeat(below, () => {
    program.backwardInput(up);
    program.backwardWeight();
    program.forward(up);
  });
  repeat(grains - 2 * ranks + rank + 1, () => {
    program.forward(down);
    program.backward(up);
    program.forward(up);
    program.backward(down);
  });
  repeat(below, () => {
    program.backward(up);
    program.forward(up);
    program.backward(down);
  });
  // The second half of the last backwards leaves weight gradients for the end, so that the ranks above get their gradients early.
  const last = 2 * (rank + 1);
  repeat(last, (index) => {
    const stage = index % 2 === 0 ? up : down;
    if (index < rank + 1) program.backward(stage);
    else program.backwardInput(stage);
  });
  repeat(below, () => {
    program.backwardWeight();
    program.backwardInput(down);
  });
  program.backwardWeights();
  return program.actions;
}
