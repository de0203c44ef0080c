// The scheduler: budget, order, prefix reuse, preemption, cancellation; and that nothing is ever lost or stuck.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BlockManager } from './block-manager.ts';
import { Scheduler } from './scheduler.ts';
import type { SchedulerOptions, Step } from './scheduler.ts';
import { completionLength, createSequence } from './sequence.ts';
import type { Sequence } from './sequence.ts';

interface Setup extends Partial<SchedulerOptions> {
  blocks?: number;
  blockSize?: number;
  prefixCache?: boolean;
}

function setup(options: Setup = {}): Scheduler {
  const { blocks = 64, blockSize = 4, prefixCache = true, ...rest } = options;
  const manager = new BlockManager({ blocks, blockSize, prefixCache, hashSeed: 'test' });
  const budget = rest.maxBatchedTokens ?? 32;
  return new Scheduler(manager, {
    maxSequences: 8,
    maxBatchedTokens: budget,
    maxChunkAmongOthers: budget,
    watermarkBlocks: 0,
    ...rest,
  });
}

let nextId = 0;
const count = (n: number, from = 0): number[] => Array.from({ length: n }, (_, i) => from + i);
const sequence = (prompt: number[], maxTokens = 4, salt = ''): Sequence =>
  createSequence({ id: (nextId += 1), prompt, maxTokens, salt });
const plan = (step: Step) => step.chunks.map((chunk) => [chunk.sequence.id, chunk.start, chunk.count, chunk.last] as const);

/** Stands for the model: gives every sequence whose tokens are all computed one more, and ends those that have enough. */
function draw(scheduler: Scheduler, step: Step, token = (s: Sequence) => 1000 + s.tokens.length): void {
  for (const { sequence: s, last } of step.chunks) {
    if (!last || s.status === 'finished') continue;
    if (completionLength(s) < s.maxLength - s.promptLength) s.tokens.push(token(s));
    if (s.tokens.length === s.maxLength) scheduler.finish(s);
  }
}

describe('Scheduler', () => {
  it('computes a prompt once for all its completions, and lets others pass those that wait for it', () => {
    const scheduler = setup({ maxBatchedTokens: 8 });
    const leader = sequence(count(21));
    const followers = [1, 2].map((id) => createSequence({ id: -id, prompt: count(21), maxTokens: 4, leader }));
    const other = sequence(count(3, 100));
    for (const each of [leader, ...followers, other]) scheduler.add(each);
    const steps = Array.from({ length: 3 }, () => {
      const step = scheduler.schedule();
      draw(scheduler, step);
      return plan(step);
    });
    expect(steps).toEqual([
      [[leader.id, 0, 8, false]],
      [[leader.id, 8, 8, false]],
      [
        [leader.id, 16, 5, true],
        [-1, 20, 1, true],
        [-2, 20, 1, true],
        [other.id, 0, 1, false],
      ],
    ]);
  });

  it('lets completions compute their prompt themselves when the first one has gone', () => {
    const scheduler = setup({ maxBatchedTokens: 8 });
    const leader = sequence(count(21));
    const follower = createSequence({ id: -1, prompt: count(21), maxTokens: 4, leader });
    scheduler.add(leader);
    scheduler.add(follower);
    draw(scheduler, scheduler.schedule());
    scheduler.finish(leader);
    expect(plan(scheduler.schedule())).toEqual([[-1, 8, 8, false]]);
  });

  it('mixes one token of each running sequence with chunks of waiting prompts inside one budget', () => {
    const scheduler = setup({ maxBatchedTokens: 8 });
    const a = sequence(count(3));
    const b = sequence(count(12, 50));
    scheduler.add(a);
    scheduler.add(b);
    const first = scheduler.schedule();
    expect(plan(first)).toEqual([
      [a.id, 0, 3, true],
      [b.id, 0, 5, false],
    ]);
    draw(scheduler, first);
    const second = scheduler.schedule();
    expect(plan(second)).toEqual([
      [a.id, 3, 1, true],
      [b.id, 5, 7, true],
    ]);
  });

  it('holds a long prompt to its share while others want tokens, and not when it is alone', () => {
    const scheduler = setup({ maxBatchedTokens: 32, maxChunkAmongOthers: 8 });
    const long = sequence(count(40));
    scheduler.add(long);
    expect(plan(scheduler.schedule())).toEqual([[long.id, 0, 32, false]]);
    const short = sequence(count(4, 90));
    scheduler.add(short);
    expect(plan(scheduler.schedule())).toEqual([
      [long.id, 32, 8, true],
      [short.id, 0, 4, true],
    ]);
  });

  it('computes long prompts beside the steps, in even parts of whole blocks', () => {
    const scheduler = setup({ maxBatchedTokens: 24, shortRows: () => 3 });
    const [long, short] = [sequence(count(50)), sequence(count(3, 100))];
    scheduler.add(long);
    scheduler.add(short);
    expect(plan(scheduler.schedule())).toEqual([[short.id, 0, 3, true]]);
    scheduler.finish(short);
    expect(plan(scheduler.schedule())).toEqual([]);
    const parts = [];
    for (let part = scheduler.scheduleLong(); part; part = scheduler.scheduleLong()) {
      expect(scheduler.scheduleLong()).toBe(part);
      expect(long.computed).toBe(part.start);
      expect(scheduler.completeLong(part)).toBe(true);
      parts.push([part.start, part.count, part.last]);
    }
    expect(parts).toEqual([
      [0, 16, false],
      [16, 16, false],
      [32, 18, true],
    ]);
    long.tokens.push(7);
    expect(plan(scheduler.schedule())).toEqual([[long.id, 50, 1, true]]);
  });

  it('takes fewer tokens of a long prompt together where longRows says so, however little fits into a block', () => {
    const scheduler = setup({ shortRows: () => 2, longRows: () => 3 });
    const long = sequence(count(8));
    scheduler.add(long);
    scheduler.schedule();
    const parts = [];
    for (let part = scheduler.scheduleLong(); part; part = scheduler.scheduleLong()) {
      scheduler.completeLong(part);
      parts.push(part.count);
    }
    expect(parts).toEqual([3, 1, 2]);
    expect(plan(scheduler.schedule())).toEqual([[long.id, 6, 2, true]]);
  });

  it('gives the oldest long prompt and the shortest their turns', () => {
    const scheduler = setup({ maxBatchedTokens: 16, shortRows: () => 8, blocks: 100 });
    const [oldest, middle, shortest] = [sequence(count(64)), sequence(count(48, 100)), sequence(count(32, 200))];
    for (const each of [oldest, middle, shortest]) scheduler.add(each);
    scheduler.schedule();
    const turns = Array.from({ length: 9 }, () => {
      const part = scheduler.scheduleLong()!;
      scheduler.completeLong(part);
      return part.sequence;
    });
    expect(turns).toEqual([oldest, shortest, oldest, shortest, oldest, oldest, middle, middle, middle]);
    expect(scheduler.scheduleLong()).toBeUndefined();
  });

  it('offers the blocks of a long prompt when they are computed, and lets another one that has the same tokens catch up', () => {
    const scheduler = setup({ maxBatchedTokens: 16, shortRows: () => 4 });
    const [a, b] = [sequence(count(40)), sequence(count(40))];
    scheduler.add(a);
    scheduler.add(b);
    scheduler.schedule();
    const first = scheduler.scheduleLong()!;
    expect([first.sequence, first.start, first.count]).toEqual([a, 0, 12]);
    const late = sequence(count(40));
    scheduler.add(late);
    scheduler.schedule();
    expect(late.cached).toBe(0);
    scheduler.completeLong(first);
    const second = scheduler.scheduleLong()!;
    expect([second.sequence, second.start, second.count]).toEqual([a, 12, 12]);
    scheduler.completeLong(second);
    const third = scheduler.scheduleLong()!;
    expect([third.sequence, third.start, third.count]).toEqual([a, 24, 16]);
    scheduler.completeLong(third);
    const other = scheduler.scheduleLong()!;
    expect([other.sequence, other.start, other.count, other.last]).toEqual([b, 36, 4, true]);
    expect(b.cached).toBe(36);
    expect(b.blocks.slice(0, 9)).toEqual(a.blocks.slice(0, 9));
    for (const each of [a, b, late]) scheduler.finish(each);
    expect(scheduler.blocks.pool.check().used).toBe(0);
  });

  it('reserves room for the whole of a long prompt, so that what comes later waits', () => {
    const scheduler = setup({ blocks: 12, shortRows: () => 6 });
    const [long, short] = [sequence(count(40), 1), sequence(count(6, 100), 4)];
    scheduler.add(long);
    scheduler.add(short);
    const step = scheduler.schedule();
    expect(plan(step)).toEqual([[short.id, 0, 6, true]]);
    draw(scheduler, step);
    expect(long.blocks).toHaveLength(10);
    const late = sequence(count(2, 200), 1);
    scheduler.add(late);
    expect(plan(scheduler.schedule())).toEqual([[short.id, 6, 1, true]]);
    expect(late.status).toBe('waiting');
  });

  it('gives up what is under way of a long prompt that ends or loses its blocks', () => {
    const scheduler = setup({ blocks: 12, shortRows: () => 6, prefixCache: false });
    const [short, long] = [sequence(count(6), 30), sequence(count(36, 100), 1)];
    scheduler.add(short);
    scheduler.add(long);
    draw(scheduler, scheduler.schedule());
    const part = scheduler.scheduleLong()!;
    while (long.status === 'running') draw(scheduler, scheduler.schedule());
    expect(long.status).toBe('preempted');
    expect(scheduler.completeLong(part)).toBe(false);
    expect([long.computed, scheduler.scheduleLong()]).toEqual([0, undefined]);
    scheduler.finish(short);
    scheduler.schedule();
    const again = scheduler.scheduleLong()!;
    expect(again).toMatchObject({ sequence: long, start: 0 });
    scheduler.finish(long);
    expect(scheduler.completeLong(again)).toBe(false);
    expect(scheduler.hasWork()).toBe(false);
    expect(scheduler.blocks.pool.check().used).toBe(0);
  });

  it('admits no more sequences than allowed, in order of arrival', () => {
    const scheduler = setup({ maxSequences: 2 });
    const all = [1, 2, 3].map((n) => sequence(count(2, n * 10), 1));
    for (const s of all) scheduler.add(s);
    const step = scheduler.schedule();
    expect(step.chunks.map((chunk) => chunk.sequence)).toEqual(all.slice(0, 2));
    draw(scheduler, step);
    expect(scheduler.schedule().chunks.map((chunk) => chunk.sequence)).toEqual(all.slice(2));
  });

  it('starts behind the blocks that another sequence computed, and always leaves one token to compute', () => {
    const scheduler = setup();
    const a = sequence(count(8), 1);
    scheduler.add(a);
    draw(scheduler, scheduler.schedule());
    const same = sequence(count(8), 1);
    const longer = sequence([...count(8), 99], 1);
    scheduler.add(same);
    scheduler.add(longer);
    expect(plan(scheduler.schedule())).toEqual([
      [same.id, 4, 4, true],
      [longer.id, 8, 1, true],
    ]);
    expect(scheduler.blocks.lookups).toEqual({ queried: 8 + 8 + 9, hit: 12 });
  });

  it('lets sequences of one step share the prompt that the first of them computes', () => {
    const scheduler = setup();
    const [a, b] = [sequence(count(9)), sequence(count(9))];
    scheduler.add(a);
    scheduler.add(b);
    expect(plan(scheduler.schedule())).toEqual([
      [a.id, 0, 9, true],
      [b.id, 8, 1, true],
    ]);
    expect(b.blocks.slice(0, 2)).toEqual(a.blocks.slice(0, 2));
  });

  it('never shares blocks between salts', () => {
    const scheduler = setup();
    const [a, b] = [sequence(count(9), 4, 'tenant-a'), sequence(count(9), 4, 'tenant-b')];
    scheduler.add(a);
    scheduler.add(b);
    scheduler.schedule();
    expect(b.cached).toBe(0);
    expect(new Set([...a.blocks, ...b.blocks]).size).toBe(a.blocks.length + b.blocks.length);
  });

  it('computes every position of a sequence that must not read the cache, and still offers its blocks', () => {
    const scheduler = setup();
    const a = createSequence({ id: 1000, prompt: count(8), maxTokens: 1, readsCache: false });
    scheduler.add(a);
    draw(scheduler, scheduler.schedule());
    const again = createSequence({ id: 1001, prompt: count(8), maxTokens: 1, readsCache: false });
    const reader = sequence(count(8), 1);
    scheduler.add(again);
    scheduler.add(reader);
    expect(plan(scheduler.schedule())).toEqual([
      [again.id, 0, 8, true],
      [reader.id, 4, 4, true],
    ]);
  });

  it('takes the blocks of the youngest when they run out, and puts it at the head of the queue with its tokens', () => {
    const scheduler = setup({ blocks: 4, prefixCache: false });
    const [a, b, c] = [sequence(count(7), 9), sequence(count(7, 20), 9), sequence(count(2, 40), 2)];
    for (const s of [a, b, c]) scheduler.add(s);
    let step = scheduler.schedule();
    expect(step.chunks.map((chunk) => chunk.sequence)).toEqual([a, b]);
    draw(scheduler, step);
    draw(scheduler, scheduler.schedule());
    step = scheduler.schedule();
    expect(step.preempted).toEqual([b]);
    expect(plan(step)).toEqual([[a.id, 8, 1, true]]);
    expect(scheduler.waiting).toEqual([b, c]);
    expect([b.status, b.computed, b.tokens.length, b.blocks.length]).toEqual(['preempted', 0, 9, 0]);
    expect(scheduler.preemptions).toBe(1);
  });

  it('finds most of a preempted sequence in the cache when it returns', () => {
    const scheduler = setup({ blocks: 5 });
    const [a, b] = [sequence(count(7), 3), sequence(count(7, 20), 5)];
    scheduler.add(a);
    scheduler.add(b);
    while (a.status !== 'finished') draw(scheduler, scheduler.schedule());
    expect(b.preemptions).toBe(1);
    const step = scheduler.schedule();
    expect(step.chunks[0]!.sequence).toBe(b);
    expect(step.chunks[0]!.start).toBeGreaterThanOrEqual(4);
  });

  it('leaves the watermark untouched when a sequence joins running ones, but not when none runs', () => {
    const scheduler = setup({ blocks: 4, watermarkBlocks: 2 });
    const [a, b] = [sequence(count(7), 2), sequence(count(4, 20), 1)];
    scheduler.add(a);
    scheduler.add(b);
    const step = scheduler.schedule();
    expect(step.chunks.map((chunk) => chunk.sequence)).toEqual([a]);
    scheduler.finish(a);
    expect(scheduler.schedule().chunks.map((chunk) => chunk.sequence)).toEqual([b]);
  });

  it('gives blocks back at once when a sequence ends while waiting, running or in flight', () => {
    const scheduler = setup({ maxSequences: 1 });
    const [a, b] = [sequence(count(7)), sequence(count(7, 20))];
    scheduler.add(a);
    scheduler.add(b);
    const step = scheduler.schedule();
    scheduler.finish(b);
    scheduler.finish(a);
    scheduler.finish(a);
    draw(scheduler, step);
    expect(scheduler.hasWork()).toBe(false);
    expect(scheduler.blocks.pool.check().used).toBe(0);
  });

  it('refuses a sequence that the whole pool could not hold', () => {
    const scheduler = setup({ blocks: 2 });
    expect(() => scheduler.add(sequence(count(6), 3))).toThrow(/6 prompt tokens and 3 tokens to generate .* 8 tokens/);
    expect(() => scheduler.add(sequence(count(6), 2))).not.toThrow();
  });
});

describe('Scheduler under any load', () => {
  const arrival = fc.record({
    at: fc.nat(20),
    promptLength: fc.integer({ min: 1, max: 20 }),
    shared: fc.boolean(),
    maxTokens: fc.integer({ min: 0, max: 12 }),
    cancelAfter: fc.option(fc.nat(15), { nil: undefined, freq: 3 }),
    salt: fc.constantFrom('', 'other'),
  });
  const shape = fc.record({
    blocks: fc.integer({ min: 8, max: 24 }),
    blockSize: fc.constantFrom(4, 8),
    maxSequences: fc.integer({ min: 1, max: 6 }),
    maxBatchedTokens: fc.integer({ min: 1, max: 40 }),
    maxChunkAmongOthers: fc.integer({ min: 1, max: 40 }),
    shortRows: fc.integer({ min: 1, max: 20 }).map((rows) => () => rows),
    longRows: fc.integer({ min: 1, max: 20 }).map((rows) => () => rows),
    longSteps: fc.integer({ min: 1, max: 4 }),
    watermarkBlocks: fc.nat(3),
    prefixCache: fc.boolean(),
  });

  it('ends every sequence, loses none, computes each position once per admission and keeps the pool whole', () => {
    fc.assert(
      fc.property(shape, fc.array(arrival, { minLength: 1, maxLength: 14 }), (options, arrivals) => {
        const scheduler = setup(options);
        const all = arrivals.map((item, index) => ({
          ...item,
          sequence: createSequence({
            id: index,
            prompt: count(item.promptLength, item.shared ? 0 : 100 * (index + 1)),
            maxTokens: item.maxTokens,
            salt: item.salt,
          }),
        }));
        const expected = new Map(all.map((item) => [item.sequence, 0]));
        for (let time = 0; time <= 20 || scheduler.hasWork(); time += 1) {
          expect(time).toBeLessThan(4000);
          for (const item of all) {
            if (item.at === time) scheduler.add(item.sequence);
            if (item.cancelAfter !== undefined && item.at + item.cancelAfter === time) scheduler.finish(item.sequence);
          }
          if (!scheduler.hasWork()) continue;
          const step = scheduler.schedule();
          const long = scheduler.scheduleLong();
          expect(step.chunks.length + (long ? 1 : 0)).toBeGreaterThan(0);
          expect(long?.count ?? 0).toBeLessThanOrEqual(Math.min(options.longRows(), options.maxBatchedTokens));
          let total = 0;
          for (const { sequence: s, start, count: rows, last } of [...step.chunks, ...(long ? [long] : [])]) {
            if (s !== long?.sequence) total += rows;
            expect(rows).toBeGreaterThan(0);
            expect(s.status).toBe('running');
            expect(last).toBe(start + rows === s.tokens.length);
            expect(s.blocks.length).toBeGreaterThanOrEqual(scheduler.blocks.blocksFor(start + rows));
            expect(s.blocks.length).toBeLessThanOrEqual(scheduler.blocks.blocksFor(s.tokens.length));
            if (expected.get(s) !== start) expect(start % options.blockSize).toBe(0);
            expected.set(s, s === long?.sequence ? start : start + rows);
          }
          for (const s of step.preempted) expect(s.tokens.length).toBeGreaterThanOrEqual(s.promptLength);
          expect(total).toBeLessThanOrEqual(options.maxBatchedTokens);
          expect(scheduler.running.length).toBeLessThanOrEqual(options.maxSequences);
          const computing = [...step.chunks, ...(long ? [long] : [])].map((chunk) => chunk.sequence);
          expect(new Set(computing).size).toBe(computing.length);
          const held = scheduler.running.flatMap((s) => s.blocks);
          expect(scheduler.blocks.pool.check().used).toBe(new Set(held).size);
          for (const block of new Set(held)) {
            expect(scheduler.blocks.pool.references(block)).toBe(held.filter((other) => other === block).length);
          }
          draw(scheduler, step);
          if (!long || time % options.longSteps > 0 || !scheduler.completeLong(long)) continue;
          expected.set(long.sequence, long.start + long.count);
          draw(scheduler, { chunks: [long], preempted: [] });
        }
        for (const item of all) {
          expect(item.sequence.status).toBe('finished');
          if (item.cancelAfter === undefined) expect(item.sequence.tokens.length).toBe(item.sequence.maxLength);
        }
        expect(scheduler.blocks.pool.check().used).toBe(0);
      }),
      { numRuns: 300 },
    );
  });

  it('reads from the cache only what the same tokens and salt wrote', () => {
    // A model of the cache contents: block -> the tokens of all positions up to and including it, and the salt.
    fc.assert(
      fc.property(shape, fc.array(arrival, { minLength: 1, maxLength: 14 }), (options, arrivals) => {
        const scheduler = setup({ ...options, prefixCache: true });
        const written = new Map<number, string[]>();
        const prefixKey = (s: Sequence, position: number) => `${s.salt}|${s.tokens.slice(0, position + 1).join()}`;
        const sequences = arrivals.map((item, index) =>
          createSequence({
            id: index,
            prompt: count(item.promptLength, item.shared ? 0 : 100 * (index % 3)),
            maxTokens: item.maxTokens,
            salt: item.salt,
          }),
        );
        for (const s of sequences) scheduler.add(s);
        for (let time = 0; scheduler.hasWork(); time += 1) {
          const step = scheduler.schedule();
          const long = scheduler.scheduleLong();
          // What is computed beside the steps is there when it is complete, but its blocks hold nothing else from its begin.
          const done = long && time % options.longSteps === 0 && scheduler.completeLong(long) ? [long] : [];
          if (long && done.length === 0) {
            for (let position = long.start; position < long.start + long.count; position += 1) {
              const slots = written.get(long.sequence.blocks[Math.floor(position / options.blockSize)]!);
              if (slots) slots[position % options.blockSize] = 'in the making';
            }
          }
          for (const { sequence: s, start, count: rows } of [...step.chunks, ...done]) {
            for (let position = start; position < start + rows; position += 1) {
              const block = s.blocks[Math.floor(position / options.blockSize)]!;
              const slots = written.get(block) ?? [];
              slots[position % options.blockSize] = prefixKey(s, position);
              written.set(block, slots);
            }
          }
          for (const { sequence: s, start, count: rows } of [...step.chunks, ...done]) {
            for (let position = 0; position < start + rows; position += 1) {
              const block = s.blocks[Math.floor(position / options.blockSize)]!;
              expect(written.get(block)?.[position % options.blockSize]).toBe(prefixKey(s, position));
            }
          }
          draw(scheduler, { chunks: [...step.chunks, ...done], preempted: [] }, (s) => 1 + (s.tokens.length % 2));
        }
      }),
      { numRuns: 200 },
    );
  });
});
