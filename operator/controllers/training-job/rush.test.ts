import { describe, expect, it } from 'vitest';
import type { TrainingJobStatus } from '#crds/v1alpha1/index.ts';
import { isGoodNews, Rush } from './rush.ts';

function rush() {
  const ended: string[][] = [];
  const made = new Rush((keys) => ended.push(keys));
  const begin = (): (() => Promise<void>) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const done = made.during(() => promise);
    return () => {
      resolve();
      return done;
    };
  };
  return { made, ended, begin };
}

describe('a rush of pods', () => {
  it('holds good news back until the last job has its pods, and then names the jobs that waited', async () => {
    const { made, ended, begin } = rush();
    expect(made.waitFor('a', 0)).toBe(0);
    const [first, second] = [begin(), begin()];
    expect(made.waitFor('a', 0)).toBe(10_000);
    expect(made.waitFor('a', 1000)).toBe(9000);
    await first();
    expect(ended).toEqual([]);
    await second();
    expect(ended).toEqual([['a']]);
    expect(made.waitFor('a', 2000)).toBe(0);
  });

  it('holds it back for ten seconds at most, even if one rush follows another', async () => {
    const { made, begin } = rush();
    const first = begin();
    made.waitFor('a', 0);
    await first();
    const second = begin();
    expect(made.waitFor('a', 3000)).toBe(7000);
    expect(made.waitFor('a', 10_000)).toBe(0);
    expect(made.waitFor('a', 11_000)).toBe(10_000);
    await second();
  });

  it('is over when making pods fails', async () => {
    const { made, ended } = rush();
    await expect(made.during(() => Promise.reject(new Error('refused')))).rejects.toThrow('refused');
    expect(ended).toEqual([[]]);
    expect(made.waitFor('a', 0)).toBe(0);
  });

  it('knows nothing of jobs that are gone', async () => {
    const { made, ended, begin } = rush();
    const end = begin();
    made.waitFor('a', 0);
    made.forget('a');
    await end();
    expect(ended).toEqual([[]]);
  });
});

describe('good news', () => {
  const starting: TrainingJobStatus = { attempt: 0, restarts: 0, state: 'Starting' };
  const plan = (status: object, events: object[] = []) => ({
    status: { ...starting, ...status },
    actions: [],
    events: events as [],
  });
  const change = { state: 'Running', conditions: [], readyRanks: 8, summary: { ranks: '8/8' }, goodput: { ratio: 0 } };

  it('is that pods run, and how many', () => {
    expect(isGoodNews(starting, change, plan({ state: 'Running' }))).toBe(true);
    expect(isGoodNews({ ...starting, state: 'Running' }, { readyRanks: 3 }, plan({ state: 'Running' }))).toBe(true);
  });

  it.each([
    ['a failure is written down', starting, { ...change, lastFailure: {} }, plan({ state: 'Running' })],
    ['ranks fell out', { ...starting, state: 'Running' } as const, { state: 'Restarting' }, plan({ state: 'Restarting' })],
    ['pods are kept from coming up', starting, { conditions: [] }, plan({})],
    ['the job ended', { ...starting, state: 'Running' } as const, { state: 'Failed' }, plan({ state: 'Failed' })],
    ['there is an event to tell', starting, change, plan({ state: 'Running' }, [{ type: 'Warning' }])],
    ['it runs again', { ...starting, state: 'Restarting' } as const, change, plan({ state: 'Running' })],
  ])('is not that %s', (_, before, changed, next) => {
    expect(isGoodNews(before, changed, next)).toBe(false);
  });
});
