// Puts FSDP actions into a schedule: when a stage's weights are gathered and freed, and its gradients reduced.
import type { Action, Schedule } from '#runtime/api/schedule/action.ts';
import { givesWeightGradient, isCompute, usesWeights } from '#runtime/api/schedule/action.ts';

export interface ShardingWishes {
  /** Whether every rank keeps all weights of its stages, so that only gradients are to be reduced. Default false. */
  readonly keepsWeights?: boolean;
  /**
   * true: a rank holds the weights of the stage that it computes and of the one that follows, and frees others. false: weights
   * are gathered once per step and freed after their last use.
   */
  readonly reshardAfterForward: boolean;
  /** Reduce the gradients of every grain by themselves, rather than their sum once after the last. Default false. */
  readonly reduceEveryGrain?: boolean;
}

/**
 * Gathering starts one action ahead, so that it overlaps. Works before or after `withCommunication`: gathering stands before the
 * receives of the action during which it runs. A weight gradient has no use for weights.
 */
export function withSharding(schedule: Schedule, wishes: ShardingWishes): Schedule {
  const { keepsWeights = false, reshardAfterForward, reduceEveryGrain = false } = wishes;
  const lastGrain = schedule.grains - 1;
  const shard = (actions: readonly Action[]): Action[] => {
    /** Stages in the order in which their weights are used. */
    const uses = keepsWeights ? [] : actions.filter(({ type }) => usesWeights(type)).map(({ stage }) => stage);
    const gathered = new Set<number>();
    const result: Action[] = [];
    const gather = (stage: number | undefined) => {
      if (stage === undefined || gathered.has(stage)) return;
      gathered.add(stage);
      result.push({ type: 'unshard', stage });
    };
    /** Receives before the next compute action; what belongs before it goes before them. */
    let held: Action[] = [];
    let use = 0;
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
      if (usesWeights(type)) {
        gather(uses[use]);
        gather(uses[use + 1]);
        use += 1;
      }
      result.push(...held, action);
      held = [];
      if (usesWeights(type) && !keepsWeights) {
        const isLast = !uses.includes(stage, use);
        const isNear = stage === uses[use] || stage === uses[use + 1];
        if (isLast || (reshardAfterForward && !isNear)) {
          gathered.delete(stage);
          result.push({ type: 'reshard', stage });
        }
      }
      if (givesWeightGradient(type) && (reduceEveryGrain || grain === lastGrain)) {
        result.push(reduceEveryGrain ? { type: 'reduce', stage, grain } : { type: 'reduce', stage });
      }
    }
    return [...result, ...held];
  };
  return { ...schedule, actions: schedule.actions.map(shard) };
}
