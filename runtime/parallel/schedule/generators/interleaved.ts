// Interleaved 1F1B: several chunks per rank, in a loop around the ranks.
import type { GrainAction } from '#runtime/api/schedule/action.ts';
import { Program, repeat } from './program.ts';

/**
 * Grains pass chunk by chunk in groups of about p (Narayanan et al., arXiv 2104.04473, section 2.2.2): a group goes through the
 * first chunk, then through the second and so on; backward in reverse. Grains that p does not divide are spread over the groups,
 * so that each has p or more (p - 1 more at most, if there are p at all).
 */
export function interleaved(ranks: number, rank: number, grains: number, chunks: number): GrainAction[] {
  const program = new Program(grains);
  const groups = groupSizes(ranks, grains);
  const order = groups.flatMap((size) => Array.from({ length: chunks * size }, (_, index) => Math.floor(index / size)));
  const stageOf = (chunk: number) => chunk * ranks + rank;
  const forward = (index: number) => program.forward(stageOf(order[index]!));
  const backward = (index: number) => program.backward(stageOf(chunks - 1 - order[index]!));
  const warmup = interleavedWarmup(ranks, rank, grains, chunks);
  repeat(warmup, forward);
  repeat(order.length - warmup, (index) => {
    forward(warmup + index);
    backward(index);
  });
  repeat(warmup, (index) => backward(order.length - warmup + index));
  return program.actions;
}

/** Forwards before the first backward: all chunks but the last of the first group, and the way to the last rank and back. */
export function interleavedWarmup(ranks: number, rank: number, grains: number, chunks: number): number {
  const [first = 0] = groupSizes(ranks, grains);
  return Math.min(chunks * grains, (chunks - 1) * first + 2 * (ranks - rank - 1));
}

/** Larger groups first. */
function groupSizes(ranks: number, grains: number): number[] {
  const groups = Math.max(1, Math.floor(grains / ranks));
  return Array.from({ length: groups }, (_, group) => Math.floor(grains / groups) + (group < grains % groups ? 1 : 0));
}
