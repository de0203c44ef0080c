// When the ranks of a layout gather weights and reduce gradients: what its shards add to a schedule.
import type { Parallelism } from './parallelism.ts';
import { withSharding } from './schedule/main.ts';
import type { Schedule } from './schedule/main.ts';

/** A schedule that shards already stays as it is. */
export function withShards(schedule: Schedule, parallelism: Parallelism): Schedule {
  const { dataShard, zero, reshardAfterForward, reduceEveryGrain } = parallelism;
  const isSharded = schedule.actions.some((actions) => actions.some(({ type }) => type === 'reduce'));
  if (isSharded) return schedule;
  return withSharding(schedule, { keepsWeights: dataShard === 1 || zero < 3, reshardAfterForward, reduceEveryGrain });
}
