import { describe, expect, it } from 'vitest';
import type { CollectiveState, Heartbeat } from '#runtime/api/messages.ts';
import { findHang, findStraggler, hangLimits } from './health.ts';
import type { Vitals } from './health.ts';

const now = 10_000_000;
const at = (sequence: number, state: CollectiveState['state'], group = 'data-0', site = 'block 3 gradient'): CollectiveState => ({
  group,
  sequence,
  operation: 'all-reduce',
  site,
  state,
});

interface Change extends Partial<Heartbeat> {
  heardAgo?: number;
  advancedAgo?: number;
}

function rank(number: number, { heardAgo = 500, advancedAgo = 500, ...beat }: Change = {}): Vitals {
  const heartbeat = { step: 7, phase: 'stepping' as const, collectives: [], rssBytes: 1, measuredSteps: 20, ...beat };
  return { rank: number, pod: `pod-${number}`, startedAt: 0, heartbeat, heardAt: now - heardAgo, advancedAt: now - advancedAgo };
}
const stalled = (number: number, collectives: CollectiveState[], more: Change = {}) =>
  rank(number, { advancedAgo: 61_000, collectives, ...more });

const limits = hangLimits(undefined, 100);

describe('a hang', () => {
  it.each([
    ['60 s where steps are short', undefined, 100, 60_000],
    ['five steps where they are long', undefined, 30_000, 150_000],
    ['ten minutes before a step was timed', undefined, undefined, 600_000],
    ['what the job says', 5000, 30_000, 5000],
  ])('has a timeout of %s', (_, configured, median, expected) => {
    expect(hangLimits(configured, median).steppingMs).toBe(expected);
  });

  it.each([
    [
      'a silent rank, with where it was',
      [rank(0), rank(1, { heardAgo: 61_000, collectives: [at(4, 'waiting')] })],
      'rank 1 (pod pod-1) has given no sign of life for 61 s, stepping at step 7 in all-reduce 4 of group data-0 (call site block 3 gradient)',
    ],
    [
      'the rank that has not entered what the others wait in',
      [stalled(0, [at(17, 'waiting')]), stalled(1, [at(17, 'waiting')]), stalled(2, [at(16, 'done')])],
      'rank 2 (pod pod-2) has not entered all-reduce 17 of group data-0 (call site block 3 gradient) that ranks 0, 1 wait in for 61 s, stepping at step 7 after all-reduce 16 of group data-0 (call site block 3 gradient)',
    ],
    [
      'the head of a chain: who waits in another group is not the cause',
      [
        stalled(0, [at(5, 'waiting', 'tensor-0', 'mlp')]),
        stalled(1, [at(4, 'done', 'tensor-0', 'mlp'), at(9, 'waiting', 'data-1')]),
        stalled(2, [at(8, 'done', 'data-1')]),
      ],
      'rank 2 (pod pod-2) has not entered all-reduce 9 of group data-1 (call site block 3 gradient) that rank 1 waits in for 61 s, stepping at step 7 after all-reduce 8 of group data-1 (call site block 3 gradient)',
    ],
    [
      'a rank that never entered the group',
      [stalled(0, [at(0, 'waiting')]), stalled(1, [])],
      'rank 1 (pod pod-1) has not entered all-reduce 0 of group data-0 (call site block 3 gradient) that rank 0 waits in for 61 s, stepping at step 7',
    ],
    [
      'a collective that all wait in',
      [stalled(0, [at(3, 'waiting')]), stalled(1, [at(3, 'waiting')])],
      'rank 0 (pod pod-0) waits in all-reduce 3 of group data-0 (call site block 3 gradient), as every rank waits in something; no rank has advanced for 61 s',
    ],
    [
      'a rank that stopped while it prepared',
      [
        rank(0, { phase: 'preparing' }),
        rank(1, { phase: 'preparing', activity: 'loading the checkpoint 43 %', heardAgo: 61_000 }),
      ],
      'rank 1 (pod pod-1) has given no sign of life for 61 s, preparing (loading the checkpoint 43 %) at step 7',
    ],
    [
      'a rank of which nothing is heard after its start',
      [rank(0), { ...rank(1, { heardAgo: 121_000 }), heartbeat: undefined }],
      'rank 1 (pod pod-1) has given no sign of life for 121 s, before its first heartbeat',
    ],
    [
      'the rank whose preparation stands still while it beats and the others wait for it',
      [
        rank(0, { phase: 'preparing', activity: 'tokenizing 12 %', advancedAgo: 601_000, collectives: [at(8, 'done')] }),
        rank(1, { phase: 'preparing', activity: 'preparing', advancedAgo: 700_000, collectives: [at(9, 'waiting')] }),
      ],
      'rank 0 (pod pod-0) has not entered all-reduce 9 of group data-0 (call site block 3 gradient) that rank 1 waits in for 601 s, preparing (tokenizing 12 %) at step 7 after all-reduce 8 of group data-0 (call site block 3 gradient)',
    ],
    ['a rank that computes for ever', [stalled(0, [])], 'rank 0 (pod pod-0) computes; no rank has advanced for 61 s'],
  ] as const)('names %s', (_, ranks, message) => {
    expect(findHang(ranks, now, limits)?.message).toBe(message);
  });

  it.each([
    ['all is well', [rank(0), rank(1)]],
    ['one rank advances, though others wait', [stalled(0, [at(17, 'waiting')]), rank(1)]],
    [
      'the limit is not reached',
      [stalled(0, [at(17, 'waiting')], { advancedAgo: 60_000 }), stalled(1, [], { advancedAgo: 60_000 })],
    ],
    [
      'the first step takes long, in which nothing is heard of a rank',
      [rank(0), rank(1, { phase: 'preparing', heardAgo: 599_000 })],
    ],
    ['rank 0 evaluates while the others wait', [stalled(0, [], { phase: 'evaluating' }), stalled(1, [at(17, 'waiting')])]],
    [
      'rank 0 saves a checkpoint',
      [stalled(0, [], { phase: 'checkpointing', heardAgo: 90_000 }), stalled(1, [at(17, 'waiting')])],
    ],
    ['a rank has just started', [rank(0), { ...rank(1, { heardAgo: 119_000 }), heartbeat: undefined }]],
    [
      'a rank prepares for long, and says so',
      [rank(0, { phase: 'preparing', activity: 'tokenizing', advancedAgo: 599_000 }), stalled(1, [at(17, 'waiting')])],
    ],
  ] as const)('is no hang: %s', (_, ranks) => {
    expect(findHang(ranks, now, limits)).toBeUndefined();
  });
});

describe('a straggler', () => {
  const slow = (computeMs: number, measuredSteps = 20) => rank(2, { computeMs, measuredSteps });
  const others = [rank(0, { computeMs: 100 }), rank(1, { computeMs: 110 }), rank(3, { computeMs: 104 })];

  it('is named with how slow it is', () => {
    expect(findStraggler([...others, slow(250)])).toBe(
      'rank 2 (pod pod-2) computes 250 ms a step, 2.4 times the median of the others (104 ms)',
    );
  });

  it.each([
    ['slow by less than half', [...others, slow(156)]],
    ['slow for fewer than 20 steps', [...others, slow(900, 19)]],
    ['alone', [slow(900)]],
    ['the only one of its stage', [...others, { ...slow(900), heartbeat: { ...slow(900).heartbeat!, cohort: 'stage 1' } }]],
  ])('is nobody who is %s', (_, ranks) => {
    expect(findStraggler(ranks)).toBeUndefined();
  });
});
