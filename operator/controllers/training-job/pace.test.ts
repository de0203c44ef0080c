import { describe, expect, it } from 'vitest';
import { isBeginning, StatusPace } from './pace.ts';

const count = (ready: number) => ({ readyRanks: ready, summary: { ranks: `${ready}/64` } });

describe('the pace of a status', () => {
  it('lets what decides something through at once, however often it comes', () => {
    const pace = new StatusPace();
    for (const now of [0, 1, 2]) expect(pace.waitFor('a', { ...count(1), state: 'Running' }, now)).toBe(0);
    expect(pace.waitFor('a', { summary: { step: '3/10' } }, 3)).toBe(0);
  });

  it('lets counts of pods through after 2, 4, 8 ... 60 seconds, so that an hour of them costs less than 70 writes', () => {
    const pace = new StatusPace();
    pace.waitFor('a', { state: 'Starting' }, 0);
    const written: number[] = [];
    for (let second = 0; second <= 3600; second += 1)
      if (pace.waitFor('a', count(second), 1000 * second) === 0) written.push(second);
    expect(written.slice(0, 8)).toEqual([2, 6, 14, 30, 62, 122, 182, 242]);
    expect(written.length).toBeLessThan(70);
  });

  it('says when a count will be due, and begins anew after a decision', () => {
    const pace = new StatusPace();
    pace.waitFor('a', { state: 'Starting' }, 0);
    expect(pace.waitFor('a', count(1), 500)).toBe(1500);
    expect(pace.waitFor('a', count(1), 2000)).toBe(0);
    expect(pace.waitFor('a', count(2), 3000)).toBe(3000);
    expect(pace.waitFor('a', { state: 'Running' }, 3000)).toBe(0);
    expect(pace.waitFor('a', count(3), 4000)).toBe(1000);
  });

  it('counts from what was written before pods were made', () => {
    const pace = new StatusPace();
    pace.decided('a', 0);
    expect(pace.waitFor('a', count(1), 500)).toBe(1500);
  });

  it('is each job for itself, and forgets those that are gone', () => {
    const pace = new StatusPace();
    pace.waitFor('a', { state: 'Starting' }, 0);
    expect(pace.waitFor('b', count(1), 1)).toBe(0);
    pace.forget('a');
    expect(pace.waitFor('a', count(1), 1)).toBe(0);
  });
});

describe('a plan', () => {
  const status = { attempt: 0, restarts: 0 };
  const effective = { image: 'a', podTemplate: {}, env: [], jobsClaim: 'b', modelsClaim: 'c' };
  const plan = (next: object) => ({ status: { ...status, ...next }, actions: [], events: [] });

  it('begins something when it settles what pods are made from, or counts an attempt up, and does nothing yet', () => {
    expect(isBeginning(undefined, plan({}))).toBe(false);
    expect(isBeginning(undefined, plan({ effective }))).toBe(true);
    expect(isBeginning({ ...status, effective }, plan({ effective }))).toBe(false);
    expect(isBeginning({ ...status, effective }, plan({ effective, attempt: 1 }))).toBe(true);
    expect(isBeginning(undefined, { ...plan({ effective }), actions: [{ type: 'deleteJob' }] })).toBe(false);
  });
});
