// Whether the two gradients of a tied token table share memory.
import type { Parallelism } from '../parallelism.ts';

/**
 * The gradient of the embedding, which has few rows that are not zero, is added to that of the head where nothing comes between them: neither
 * other grains nor other ranks, which are added up before.
 */
export function addsTableGradient({ dataReplicate, dataShard, pipeline }: Parallelism, grains: number): boolean {
  return dataReplicate === 1 && dataShard === 1 && pipeline === 1 && grains === 1;
}
