import { describe, expect, it } from 'vitest';
import { FaultRules } from '#crds/v1alpha1/fault-rules.ts';
import { ExitCode } from '#runtime/api/exit-codes.ts';
import type { Casualty, RankEnding } from './fault.ts';
import { judgeFault } from './verdict.ts';

const killed: RankEnding = { signal: 'SIGKILL', killed: true };
const oom: RankEnding = { signal: 'SIGKILL', killed: false };
const failed = (exitCode: number, code: string): RankEnding => ({
  exitCode,
  killed: false,
  failure: { code, message: 'it broke', remedy: 'Mend it.', step: 5 },
});
const lostPeer = failed(ExitCode.rankLost, 'WL_RANK_LOST');

const casualties = (...endings: Casualty['ending'][]): Casualty[] =>
  endings.map((ending, rank) => ({ rank, pod: `pod-${rank}`, ending, order: rank, step: 4 }));
const judge = (ranks: Casualty[], restarts = 0) => judgeFault(ranks, undefined, { epoch: 3, restarts, maxRestarts: 2 });

describe('the cause of a broken world', () => {
  it.each([
    [
      'is the rank that was killed, not those that lost it',
      [lostPeer, oom, killed],
      1,
      'rank 1 (pod pod-1) was ended by SIGKILL at step 4',
    ],
    [
      'is a user error before anything else',
      [oom, failed(64, 'WL_DATA_EMPTY')],
      1,
      'rank 1 (pod pod-1) failed at step 4 with WL_DATA_EMPTY: it broke',
    ],
    [
      'is the pod that is out of reach, if the others only lost a peer',
      [lostPeer, 'lost'],
      1,
      'rank 1 (pod pod-1) is out of reach (its pod ended or its network broke) at step 4',
    ],
    [
      'is the first of equals',
      [failed(75, 'WL_IO'), failed(75, 'WL_DISK_FULL')],
      0,
      'rank 0 (pod pod-0) failed at step 4 with WL_IO: it broke',
    ],
    [
      'is a lost peer where nobody else has ended',
      [killed, lostPeer],
      1,
      'rank 1 (pod pod-1) failed at step 4 with WL_RANK_LOST: it broke',
    ],
    [
      'is a failure that was told before the kill',
      [killed, { ...failed(0, 'WL_DATA_EMPTY'), exitCode: undefined, signal: 'SIGKILL', killed: true }],
      1,
      'rank 1 (pod pod-1) failed at step 4 with WL_DATA_EMPTY: it broke',
    ],
  ] as const)('%s', (_, endings, rank, told) => {
    const { fault } = judge(casualties(...endings));
    expect({ rank: fault.rank, told: fault.message.replace(/; (all|the job).*/, '') }).toEqual({ rank, told });
  });

  it('is a hang where one was found, whatever the killed ranks say', () => {
    const hang = { rank: 1, message: 'rank 1 (pod pod-1) has given no sign of life for 61 s' };
    const { fault, exitCode } = judgeFault(casualties(lostPeer, killed), hang, { epoch: 3, restarts: 0, maxRestarts: 2 });
    expect({ ...fault, exitCode }).toMatchObject({ rank: 1, code: 'WL_HANG', exitCode: ExitCode.rankLost });
  });
});

describe('what follows', () => {
  it.each([
    ['a fault that may pass: all start again', [oom, killed], 1, 'restart', 'all 2 ranks start again (restart 2 of 2)'],
    ['no restart is left: the end', [oom, killed], 2, 'end', 'no restart is left of 2'],
    ['a user error: the end at once', [failed(64, 'WL_DATA_EMPTY'), killed], 0, 'end', 'the job ends'],
  ] as const)('%s', (_, endings, restarts, action, words) => {
    const verdict = judge(casualties(...endings), restarts);
    expect([verdict.action, verdict.fault.message.endsWith(words)]).toEqual([action, true]);
  });

  it('a rank that spoke is quoted by its own pod; for a silent pod another speaks', () => {
    expect(judge(casualties(oom, killed), 2).words).toBeUndefined();
    expect(judge(casualties(lostPeer, 'lost'), 2).words).toMatchObject({ code: 'WL_RANK_LOST' });
  });
});

describe('rules of the job', () => {
  const rules = FaultRules.parse([
    { name: 'sick-node', log: 'ECC error', action: 'ExcludeNode' },
    { name: 'segfault', signals: ['SIGSEGV'], action: 'Fail' },
    { name: 'diverged', codes: ['WL_LOSS_NOT_FINITE'], action: 'RestartGang' },
    { name: 'second-rank', codes: ['WL_IO'], ranks: [1], action: 'RestartPod' },
    { name: 'full-disk', codes: ['WL_DISK_FULL'], action: 'Ignore' },
    { name: 'by-hand', codes: ['WL_HANG'], action: 'RestartRank' },
  ]);
  const ruled = (ranks: Casualty[], restarts = 0, hang?: { rank: number; message: string }) =>
    judgeFault(ranks, hang, { epoch: 3, restarts, maxRestarts: 2, rules });
  const crash = (signal: string): RankEnding => ({ signal, killed: false });
  const silent = { rank: 0, message: 'rank 0 (pod pod-0) has given no sign of life' };

  it.each([
    [
      'end the job at a signal that would have passed',
      casualties(killed, crash('SIGSEGV')),
      0,
      undefined,
      'end',
      'the job ends by rule segfault',
    ],
    [
      'start all pods again at what would have ended the job',
      casualties(failed(64, 'WL_LOSS_NOT_FINITE')),
      0,
      undefined,
      'end',
      'all pods are replaced by rule diverged',
    ],
    [
      'end the pod of the cause alone',
      casualties(killed, failed(75, 'WL_IO')),
      0,
      undefined,
      'replace',
      'its pod is replaced by rule second-rank',
    ],
    [
      'for one rank say nothing about another',
      casualties(failed(75, 'WL_IO'), killed),
      0,
      undefined,
      'restart',
      'all 2 ranks start again (restart 1 of 2)',
    ],
    [
      'read the last log lines',
      casualties({ ...crash('SIGKILL'), logTail: 'a\nECC error' }),
      0,
      undefined,
      'replace',
      'its pod is replaced by rule sick-node',
    ],
    [
      'start ranks again free of charge, however often',
      casualties(failed(75, 'WL_DISK_FULL')),
      2,
      undefined,
      'restart',
      'it starts again by rule full-disk (free of charge)',
    ],
    ['start ranks again in place', casualties(killed), 0, silent, 'restart', 'it starts again by rule by-hand (restart 1 of 2)'],
    ['do not raise the budget', casualties(killed, failed(75, 'WL_IO')), 2, undefined, 'end', 'no restart is left of 2'],
  ] as const)('%s', (_, ranks, restarts, hang, action, words) => {
    const verdict = ruled([...ranks], restarts, hang);
    expect([verdict.action, verdict.fault.message.slice(verdict.fault.message.lastIndexOf(';') + 2)]).toEqual([action, words]);
  });

  it('tell the operator which of them decided, and what the rank wrote last', () => {
    const { fault, charged } = ruled(casualties({ ...failed(75, 'WL_DISK_FULL'), logTail: 'no space' }));
    expect([charged, fault.charged, fault.rule, fault.logTail, fault.remedy]).toEqual([
      false,
      false,
      'full-disk',
      'no space',
      'Mend it.',
    ]);
  });

  it('can not end a pod that is out of reach', () => {
    const away = judgeFault(casualties('lost', lostPeer), undefined, {
      epoch: 3,
      restarts: 0,
      maxRestarts: 2,
      rules: FaultRules.parse([{ name: 'any', action: 'RestartPod' }]),
    });
    expect(away.action).toBe('restart');
  });
});
