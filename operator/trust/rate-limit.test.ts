// A bucket per key: what is let through over any time, and what is kept of who came.
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { RateLimit } from './rate-limit.ts';

const rules = { burst: 3, everyMs: 100 };

it('lets a burst through, then one each time, and says how long the next has to wait', () => {
  const limit = new RateLimit(rules);
  const takes = (...times: number[]) => times.map((now) => limit.take('a', now));
  expect(takes(1_000, 1_000, 1_000, 1_000, 1_060, 1_100, 1_100)).toEqual([0, 0, 0, 100, 40, 0, 100]);
  expect(limit.waitMs('a', 1_150)).toBe(50);
  expect(limit.waitMs('b', 1_150)).toBe(0);
});

it('never lets more through than the burst and what time has added since, and nobody waits longer than it said', () => {
  const waits = fc.array(fc.integer({ min: 0, max: 250 }), { minLength: 1, maxLength: 100 });
  fc.assert(
    fc.property(waits, (pauses) => {
      const limit = new RateLimit(rules);
      const passed: number[] = [];
      let now = 0;
      for (const pause of pauses) {
        now += pause;
        const waitMs = limit.take('a', now);
        if (waitMs === 0) passed.push(now);
        else expect([limit.waitMs('a', now + waitMs - 1), limit.waitMs('a', now + waitMs)]).toEqual([1, 0]);
      }
      for (const [first, since] of passed.entries())
        for (const [more, until] of passed.slice(first).entries())
          expect(more + 1).toBeLessThanOrEqual(rules.burst + Math.floor((until - since) / rules.everyMs));
    }),
  );
});

it('forgets who has not come for a while', () => {
  const limit = new RateLimit(rules);
  for (let key = 0; key < 1_000; key += 1) limit.take(String(key), 0);
  expect(limit.size).toBe(1_000);
  limit.take('late', 1_000);
  expect(limit.size).toBe(1);
});
