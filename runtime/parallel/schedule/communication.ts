// Puts sends and receives into a compute schedule.
import type { Action, Schedule } from '#runtime/api/schedule/action.ts';
import { givesInputGradient, isCompute } from '#runtime/api/schedule/action.ts';
import { hasTransfers } from '#runtime/api/schedule/walk.ts';

/**
 * Every output goes out as soon as it is there and is received right before it is used; none between stages that share a rank.
 * Each boundary and direction is a channel of its own, so nothing can overtake or block anything else. Leaves sharding actions
 * where they are. A schedule that says itself when ranks send and receive stays as it is.
 */
export function withCommunication(schedule: Schedule): Schedule {
  if (hasTransfers(schedule)) return schedule;
  const { placement, stages } = schedule;
  const apart = (stage: number, neighbour: number) =>
    neighbour >= 0 && neighbour < stages && placement[stage] !== placement[neighbour];
  const expand = (action: Action): Action[] => {
    if (!isCompute(action)) return [action];
    const { type, stage, grain } = action;
    if (type === 'forward') {
      return [
        ...(apart(stage, stage - 1) ? [{ type: 'receiveForward', stage, grain } as const] : []),
        action,
        ...(apart(stage, stage + 1) ? [{ type: 'sendForward', stage, grain } as const] : []),
      ];
    }
    if (!givesInputGradient(type)) return [action];
    return [
      ...(apart(stage, stage + 1) ? [{ type: 'receiveBackward', stage, grain } as const] : []),
      action,
      ...(apart(stage, stage - 1) ? [{ type: 'sendBackward', stage, grain } as const] : []),
    ];
  };
  return { ...schedule, actions: schedule.actions.map((actions) => actions.flatMap(expand)) };
}
