// What a rank says of itself: before it has met the others, while it prepares, and between steps.
import { expect, it } from 'vitest';
import type { Heartbeat, Progress } from '#runtime/api/messages.ts';
import { RankLink } from '#runtime/api/rank-link.ts';
import { RankLife } from './rank-life.ts';

/** What a rank says when it is in such a place. */
function heartbeatOf(progress: Progress | undefined, steps: number): Partial<Heartbeat> {
  using life = new RankLife(new RankLink({ connected: false, on() {} }));
  if (progress) life.follow(() => progress, 'stage 0');
  for (let step = 1; step <= steps; step += 1) life.stepped(step, 10);
  const { phase, activity, cohort, step } = life.now;
  return { phase, activity, cohort, step };
}

it.each<[string, Progress | undefined, number, object]>([
  [
    'before it has met the others',
    undefined,
    0,
    { phase: 'preparing', activity: 'joining the other ranks', cohort: undefined, step: 0 },
  ],
  [
    'while it reads a checkpoint',
    { step: 0, steps: 9, phase: 'looking for a checkpoint', phaseShare: 0.4321 },
    0,
    { phase: 'preparing', activity: 'looking for a checkpoint 43.2 %', cohort: 'stage 0', step: 0 },
  ],
  [
    'while it downloads',
    { step: 0, steps: 9, phase: 'downloading data', phaseShare: 0.4321, transfer: { bytes: 12_345 } },
    0,
    { phase: 'preparing', activity: 'downloading data 12345 bytes', cohort: 'stage 0', step: 0 },
  ],
  ['in its first step', { step: 4, steps: 9 }, 0, { phase: 'preparing', activity: undefined, cohort: 'stage 0', step: 4 }],
  ['in a later one', { step: 5, steps: 9 }, 5, { phase: 'stepping', activity: undefined, cohort: 'stage 0', step: 5 }],
  [
    'while it waits for the disk',
    { step: 5, steps: 9, phase: 'saving a checkpoint' },
    5,
    { phase: 'checkpointing', activity: 'saving a checkpoint', cohort: 'stage 0', step: 5 },
  ],
])('tells where it is: %s', (_, progress, steps, expected) => {
  expect(heartbeatOf(progress, steps)).toEqual(expected);
});
