import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { TrainingJobStatus } from '#crds/v1alpha1/index.ts';
import type { RankClock } from '#runtime/api/messages.ts';
import { goodputOf } from './goodput.ts';

const start = Date.UTC(2026, 0, 1, 12);

interface Moment {
  /** Seconds since the start. */
  at: number;
  state: NonNullable<TrainingJobStatus['state']>;
  reason?: string;
  step?: number;
  clock?: Partial<RankClock>;
  fault?: string;
}

/** The account after moments that follow each other. */
function accountOf(moments: readonly Moment[]) {
  let status: TrainingJobStatus = {};
  for (const { at, state, reason = state, step, clock, fault } of moments) {
    const now = start + at * 1000;
    const time = new Date(now).toISOString();
    const next: TrainingJobStatus = {
      ...status,
      state,
      conditions: [{ type: 'Ready', status: 'False', reason, message: '', lastTransitionTime: time }],
      ...(step === undefined ? {} : { progress: { step, time } }),
      ...(fault === undefined ? {} : { lastFailure: { time, code: fault } }),
    };
    const told = clock && { started: 'first', preparing: 0, stepping: 0, evaluating: 0, checkpointing: 0, steps: 0, ...clock };
    status = { ...next, goodput: goodputOf(status, next, told, now) };
  }
  return status.goodput!;
}

/** Causes that took time. */
function lostOf(moments: readonly Moment[]) {
  const { lost = {}, productiveSeconds, seconds } = accountOf(moments);
  return {
    productive: productiveSeconds,
    ...Object.fromEntries(Object.entries(lost).filter(([, value]) => value !== 0)),
    of: seconds,
  };
}

const up: Moment[] = [
  { at: 0, state: 'Pending' },
  { at: 0, state: 'Starting' },
  { at: 10, state: 'Running' },
];

describe('the time of a job', () => {
  const table: [string, Moment[], object][] = [
    [
      'before its pods run is lost to waiting for room, then to the start',
      [
        { at: 0, state: 'Pending' },
        { at: 5, state: 'Starting' },
        { at: 7, state: 'Pending', reason: 'Unschedulable' },
        { at: 30, state: 'Starting' },
        { at: 40, state: 'Running' },
      ],
      { waiting: 28, starting: 12, productive: 0, of: 40 },
    ],
    [
      'that ranks take to prepare belongs to the start; evaluation and checkpoints are told apart',
      [
        ...up,
        { at: 60, state: 'Running', step: 20, clock: { preparing: 8, stepping: 30, evaluating: 7, checkpointing: 5, steps: 20 } },
      ],
      { starting: 18, productive: 30, evaluating: 7, checkpointing: 5, of: 60 },
    ],
    [
      'belongs to the start as long as the first ranks prepare, however often they say so',
      [
        ...up,
        { at: 20, state: 'Running', step: 0, clock: { preparing: 6 } },
        { at: 30, state: 'Running', step: 0, clock: { preparing: 16 } },
        { at: 40, state: 'Running', step: 8, clock: { preparing: 18, stepping: 8, steps: 8 } },
      ],
      { starting: 32, productive: 8, of: 40 },
    ],
    [
      'of steps that were done before a fault is lost, that of new ones is not',
      [
        ...up,
        { at: 50, state: 'Running', step: 40, clock: { stepping: 40, steps: 40 } },
        { at: 52, state: 'Restarting', fault: 'WL_IO' },
        { at: 60, state: 'Running' },
        { at: 85, state: 'Running', step: 50, clock: { started: 'second', preparing: 5, stepping: 20, steps: 20 } },
      ],
      { starting: 10, productive: 50, repeating: 10, restarting: 15, of: 85 },
    ],
    [
      'until a hang is found is lost to it, and told by the agents too',
      [
        ...up,
        { at: 20, state: 'Running', step: 10, clock: { stepping: 10, steps: 10 } },
        { at: 85, state: 'Running', fault: 'WL_HANG' },
      ],
      { starting: 10, productive: 10, hanging: 65, of: 85 },
    ],
    [
      'between the process of a rank and the next one is lost to the restart',
      [
        ...up,
        { at: 20, state: 'Running', step: 10, clock: { stepping: 10, steps: 10 } },
        { at: 30, state: 'Running', step: 12, clock: { started: 'second', preparing: 3, stepping: 4, steps: 2 } },
      ],
      { starting: 10, productive: 14, restarting: 6, of: 30 },
    ],
    [
      'of a suspension does not count',
      [...up, { at: 20, state: 'Suspended' }, { at: 500, state: 'Starting' }, { at: 505, state: 'Running' }],
      { starting: 15, productive: 0, other: 10, of: 25 },
    ],
    [
      'that nobody explains is not called productive',
      [...up, { at: 100, state: 'Succeeded' }],
      { starting: 10, productive: 0, other: 90, of: 100 },
    ],
    [
      'after the end does not count',
      [...up, { at: 100, state: 'Failed' }, { at: 900, state: 'Failed', reason: 'another' }],
      { starting: 10, productive: 0, other: 90, of: 100 },
    ],
  ];
  it.each(table)('%s', (_, moments, expected) => {
    expect(lostOf(moments)).toEqual(expected);
  });

  it('adds up to all of it, whatever the ranks say', () => {
    const seconds = fc.double({ min: 0, max: 50, noNaN: true });
    const clock = fc.record({
      started: fc.constantFrom('first', 'second'),
      preparing: seconds,
      stepping: seconds,
      evaluating: seconds,
      checkpointing: seconds,
      steps: fc.nat(40),
    });
    const moment = fc.record(
      {
        after: fc.nat(20),
        state: fc.constantFrom('Pending', 'Starting', 'Running', 'Running', 'Restarting', 'Suspended'),
        step: fc.nat(60),
        clock,
        fault: fc.constantFrom('WL_HANG', 'WL_IO'),
      },
      { requiredKeys: ['after', 'state'] },
    );
    fc.assert(
      fc.property(fc.array(moment, { minLength: 1, maxLength: 20 }), (drawn) => {
        let at = 0;
        const moments = drawn.map(({ after, ...rest }) => ({ ...rest, at: (at += after) }));
        const { lost = {}, productiveSeconds = 0, seconds: all = 0, ratio = 0 } = accountOf(moments);
        const parts = [productiveSeconds, ...Object.values(lost).map((part = 0) => part)];
        expect(parts.every((part) => part >= 0)).toBe(true);
        // Each part is rounded to a millisecond at each moment.
        expect(Math.abs(parts.reduce((sum, part) => sum + part, 0) - all)).toBeLessThan(0.02 * moments.length);
        expect(ratio).toBeLessThanOrEqual(1);
      }),
    );
  });
});

it('an account changes only with the status', () => {
  const status: TrainingJobStatus = { state: 'Running', goodput: accountOf(up) };
  expect(goodputOf(status, status, undefined, start + 1e6)).toBe(status.goodput);
});
