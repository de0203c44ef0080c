import { expect, it } from 'vitest';
import type { FaultReport, ProgressReport } from '#runtime/api/messages.ts';
import { faultText, isHealed } from './fault-text.ts';
import type { Healing } from './fault-text.ts';

const at = (second: number) => new Date(Date.UTC(2026, 0, 1, 12, 0, second)).toISOString();
const fault: FaultReport = { time: at(10), epoch: 0, rank: 2, pod: 'moby-worker-2', message: 'rank 2 was ended by SIGKILL' };
const report = (second: number, more: Partial<ProgressReport>): ProgressReport => ({
  uid: 'u',
  attempt: 0,
  rank: 0,
  pod: 'moby-worker-0',
  time: at(second),
  restarts: 1,
  progress: { step: 1, steps: 9 },
  fault,
  ...more,
});
const ranks = (phase: 'preparing' | 'stepping') =>
  [0, 1].map((rank) => ({ rank, pod: `moby-worker-${rank}`, state: 'running' as const, phase }));

it('counts the time from the fault until all ranks of the next world step, once', () => {
  const reports = [
    report(11, { epoch: 0, ranks: ranks('stepping') }),
    report(12, { epoch: 1 }),
    report(13, { epoch: 1, ranks: ranks('preparing') }),
    report(14, { epoch: 1, ranks: ranks('stepping') }),
    report(20, { epoch: 1, ranks: ranks('stepping') }),
  ];
  let healing: Healing | undefined;
  const seconds = reports.map((seen) => (healing = isHealed(healing, seen))?.seconds);
  expect(seconds).toEqual([undefined, undefined, undefined, 4, 4]);
  expect(faultText(undefined, fault, healing)).toBe('rank 2 was ended by SIGKILL; trained again after 4.0 s');
});

it('says what the operator did when it saw more than the agents', () => {
  const recorded = {
    time: at(11),
    rank: 2,
    pod: 'moby-worker-2',
    message: 'the container was ended by signal 9',
    action: 'RestartPod',
  };
  expect([faultText(recorded, fault, undefined), faultText({ ...recorded, time: at(9) }, fault, undefined)]).toEqual([
    'rank 2 (pod moby-worker-2): the container was ended by signal 9; its pod was replaced',
    'rank 2 was ended by SIGKILL',
  ]);
});
