// Puts FSDP actions into a schedule: when a stage's weights are gathered and freed, and its gradients reduced.
import type { Action, Schedule } from '#runtime/api/schedule/action.ts';
import { givesWeightGradient, isCompute } from '#runtime/api/schedule/action.ts';

export interface ShardingWishes {
  /**
   * true: a rank holds the weights of the stage that it computes and of the one that follows, and frees others. false: weights
   * are gathered once per step and freed after their last use.
   */
  readonly reshardAfterForward: boolean;
  /** Reduce the gradients of every grain by themselves, rather than their sum once after the last. Default false. */
  readonly reduceEveryGrain?: boolean;
}

/**
 * Gathering starts one compute action ahead, so that it overlaps. Works before or after `withCommunication`: gathering stands
 * before the receives of the action during which it runs. Weight gradients count as a use of the weights, because a fused loss
 * computes its logits once more.
 */
export function withSharding(schedule: Schedule, { reshardAfterForward, reduceEveryGrain = false }: ShardingWishes): Schedule {
  const lastGrain = schedule.grains - 1;
  const shard = (actions: readonly Action[]): Action[] => {
    const stages = actions.filter(isCompute).map(({ stage }) => stage);
    const gathered = new Set<number>();
    const result: Action[] = [];
    const gather = (stage: number | undefined) => {
      if (stage === undefined || gathered.has(stage)) return;
      gathered.add(stage);
      result.push({ type: 'unshard', stage });
    };
    /** Receives before the next compute action; what belongs before it goes before them. */
    let held: Action[] = [];
    let index = 0;
    for (const action of actions) {
      if (action.type === 'receiveForward' || action.type === 'receiveBackward') {
        held.push(action);
        continue;
      }
      if (!isCompute(action)) {
        result.push(action);
        continue;
      }
      const { stage, grain, type } = action;
      gather(stage);
      gather(stages[index + 1]);
      result.push(...held, action);
      held = [];
      const isLast = !stages.includes(stage, index + 1);
      const isNear = stage === stages[index + 1] || stage === stages[index + 2];
      if (isLast || (reshardAfterForward && !isNear)) {
        gathered.delete(stage);
        result.push({ type: 'reshard', stage });
      }
      if (givesWeightGradient(type) && (reduceEveryGrain || grain === lastGrain)) {
        result.push(reduceEveryGrain ? { type: 'reduce', stage, grain } : { type: 'reduce', stage });
      }
      index += 1;
    }
    return [...result, ...held];
  };
  return { ...schedule, actions: schedule.actions.map(shard) };
}
