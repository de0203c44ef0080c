import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ManualClock } from '#operator/kube/clock.ts';
import { lowPriority, WorkQueue } from './work-queue.ts';

function queueWithClock() {
  const clock = new ManualClock();
  return { clock, queue: new WorkQueue({ clock }) };
}

const take = async (queue: WorkQueue) => (await queue.take())?.key;

describe('work queue', () => {
  it('gives a key that is added twice once', async () => {
    const { queue } = queueWithClock();
    queue.add('a');
    queue.add('b');
    queue.add('a');
    expect([await take(queue), await take(queue), queue.depth]).toEqual(['a', 'b', 0]);
  });

  it('gives a key that is added while it is processed again, but only after its work ended', async () => {
    const { queue } = queueWithClock();
    queue.add('a');
    await take(queue);
    queue.add('a');
    queue.add('a');
    expect(queue.depth).toBe(0);
    queue.done('a');
    expect([await take(queue), queue.depth]).toEqual(['a', 0]);
    queue.done('a');
    expect([queue.depth, queue.idle]).toEqual([0, true]);
  });

  it('serves the initial listing last, and lets an event raise a listed key', async () => {
    const { queue } = queueWithClock();
    for (const key of ['a', 'b', 'c']) queue.add(key, lowPriority);
    queue.add('event');
    queue.add('c');
    expect([await take(queue), await take(queue), await take(queue), await take(queue)]).toEqual(['event', 'c', 'a', 'b']);
  });

  it('adds later; of two delays the shorter counts, and an add makes both void', async () => {
    const { queue, clock } = queueWithClock();
    queue.addAfter('a', 100);
    queue.addAfter('a', 50);
    queue.addAfter('a', 80);
    clock.advance(49);
    expect(queue.depth).toBe(0);
    clock.advance(1);
    expect([await take(queue), queue.depth]).toEqual(['a', 0]);
    queue.done('a');
    queue.addAfter('a', 10);
    queue.add('a');
    await take(queue);
    queue.done('a');
    clock.advance(1000);
    expect(queue.depth).toBe(0);
  });

  it('waits 5 ms after a failure, twice as long after each further one, at most 1000 s, and forgets on success', () => {
    const { queue, clock } = queueWithClock();
    const delays = Array.from({ length: 20 }, () => {
      queue.addAfterFailure('a');
      const delay = clock.nextTimerMs;
      clock.advance(delay!);
      void queue.take();
      queue.done('a');
      return delay;
    });
    expect([delays[0], delays[1], delays[5], delays[17], delays[18], delays[19]]).toEqual([
      5, 10, 160, 655_360, 1_000_000, 1_000_000,
    ]);
    queue.forget('a');
    queue.addAfterFailure('a');
    expect(clock.nextTimerMs).toBe(5);
  });

  it('spreads failures of very many keys: a hundred at once, then one every 100 ms', () => {
    const { queue, clock } = queueWithClock();
    for (let index = 0; index < 150; index++) queue.addAfterFailure(`k${index}`);
    clock.advance(5);
    expect(queue.depth).toBe(100);
    clock.advance(1000);
    expect(queue.depth).toBe(110);
    clock.advance(4000);
    expect(queue.depth).toBe(150);
  });

  it('keeps the priority of a key through failures and delays, and tells how many wait by priority', async () => {
    const { queue, clock } = queueWithClock();
    queue.add('listed', lowPriority);
    const taken = (await queue.take())!;
    queue.addAfterFailure(taken.key, taken.priority);
    queue.done(taken.key);
    clock.advance(5);
    expect([...queue.depths]).toEqual([
      [0, 0],
      [lowPriority, 1],
    ]);
    queue.add('event');
    expect([await take(queue), await take(queue)]).toEqual(['event', 'listed']);
    queue.done('listed');
    queue.addAfter('listed', 10, lowPriority);
    queue.addAfter('listed', 20);
    clock.advance(10);
    expect(queue.depths.get(0)).toBe(1);
  });

  it('wakes who waits, and lets everybody go when it closes', async () => {
    const { queue } = queueWithClock();
    const [first, second] = [take(queue), take(queue)];
    queue.add('a');
    expect(await first).toBe('a');
    queue.close();
    expect(await second).toBeUndefined();
    queue.add('b');
    expect(await take(queue)).toBeUndefined();
  });

  it('never loses a key, never runs one twice at the same time, whatever the order of calls', async () => {
    const step = fc.record({
      what: fc.constantFrom('add', 'fail', 'later', 'take', 'done', 'tick'),
      key: fc.constantFrom('a', 'b', 'c'),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const { queue, clock } = queueWithClock();
        const owed = new Set<string>();
        const running = new Set<string>();
        const start = async () => {
          const key = (await take(queue))!;
          expect(running.has(key)).toBe(false);
          running.add(key);
          owed.delete(key);
        };
        for (const { what, key } of steps) {
          if (what === 'add') queue.add(key);
          if (what === 'fail') queue.addAfterFailure(key);
          if (what === 'later') queue.addAfter(key, 30);
          if (what === 'add' || what === 'fail' || what === 'later') owed.add(key);
          if (what === 'take' && queue.depth > 0) await start();
          if (what === 'done' && running.delete(key)) queue.done(key);
          if (what === 'tick') clock.advance(40);
        }
        for (const key of running) queue.done(key);
        running.clear();
        clock.advance(2_000_000);
        while (queue.depth > 0) {
          await start();
          for (const key of running) queue.done(key);
          running.clear();
        }
        expect([...owed]).toEqual([]);
      }),
      { numRuns: 300 },
    );
  });
});
