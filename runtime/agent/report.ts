// What pod 0 reports to the operator: the figures of rank 0, one line per rank, the newest fault.
import { maxReportedRanks } from '#runtime/api/messages.ts';
import type { ProgressReport, RankReport } from '#runtime/api/messages.ts';
import type { Coordinator } from './rendezvous/coordinator.ts';
import { newestOf } from './rendezvous/health.ts';
import type { Seat } from './rendezvous/seats.ts';

/** Heartbeats come each second. */
const silentMs = 3_000;

/** The part of a report that tells of the world. `now` in ms, of the clock of the coordinator. */
export function reportWorld(
  view: Coordinator['view'],
  now: number,
): Pick<ProgressReport, 'epoch' | 'worldSize' | 'ranks' | 'standby' | 'fault' | 'straggler'> {
  const { epoch, seats, standby, fault, straggler } = view;
  return {
    epoch,
    ...(seats.length > 0
      ? { worldSize: seats.length, ranks: seats.slice(0, maxReportedRanks).map((seat) => reportRank(seat, now)) }
      : {}),
    ...(standby.length > 0 ? { standby: standby.slice(0, maxReportedRanks) } : {}),
    ...(fault ? { fault } : {}),
    ...(straggler === undefined ? {} : { straggler }),
  };
}

function reportRank(seat: Seat, now: number): RankReport {
  const { rank, pod, heartbeat } = seat;
  const collective = newestOf(seat);
  return {
    rank,
    pod,
    state: stateOf(seat, now),
    ...(heartbeat ? { step: heartbeat.step, phase: heartbeat.phase, rssBytes: heartbeat.rssBytes } : {}),
    ...(heartbeat?.stepMs === undefined ? {} : { stepMs: heartbeat.stepMs }),
    ...(collective ? { collective } : {}),
  };
}

function stateOf({ ending, awaySince, heartbeat, heardAt }: Seat, now: number): RankReport['state'] {
  if (ending === 'lost' || awaySince !== undefined) return 'lost';
  if (ending) return 'ended';
  if (!heartbeat) return 'starting';
  return now - heardAt > silentMs ? 'silent' : 'running';
}
