// The block pool keeps its counts, its order of use and its hashes right.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BlockPool } from './block-pool.ts';

const tokens = [1, 2, 3, 4, 5, 6, 7, 8];

describe('BlockPool', () => {
  it('takes blocks in order, and returns undefined when all are used', () => {
    const pool = new BlockPool(3, 4);
    expect([pool.take(), pool.take(), pool.take(), pool.take()]).toEqual([0, 1, 2, undefined]);
    expect(pool.check()).toEqual({ free: 0, cached: 0, used: 3 });
  });

  it('reuses worthless blocks before cached ones, and the longest unused of these first', () => {
    const pool = new BlockPool(4, 4);
    const [a, b, c, d] = [pool.take()!, pool.take()!, pool.take()!, pool.take()!];
    pool.offer(a, 'A', tokens, 0);
    pool.offer(b, 'B', tokens, 4);
    for (const block of [b, a, c, d]) pool.release(block);
    expect(pool.check()).toEqual({ free: 2, cached: 2, used: 0 });
    expect([pool.take(), pool.take(), pool.take(), pool.take()]).toEqual([d, c, b, a]);
  });

  it('keeps cached content until its block is taken for something else', () => {
    const pool = new BlockPool(1, 4);
    const block = pool.take()!;
    pool.offer(block, 'A', tokens, 0);
    pool.release(block);
    expect(pool.find('A', tokens, 0)).toBe(block);
    pool.take();
    expect(pool.find('A', tokens, 0)).toBeUndefined();
  });

  it('treats equal hashes of different tokens as a miss', () => {
    const pool = new BlockPool(2, 4);
    pool.offer(pool.take()!, 'A', tokens, 0);
    expect(pool.find('A', tokens, 4)).toBeUndefined();
    expect(pool.find('A', tokens, 0)).toBe(0);
  });

  it('keeps the first of two blocks with the same content and leaves the second private', () => {
    const pool = new BlockPool(2, 4);
    const [first, second] = [pool.take()!, pool.take()!];
    pool.offer(first, 'A', tokens, 0);
    pool.offer(second, 'A', tokens, 0);
    pool.release(second);
    expect(pool.check()).toEqual({ free: 1, cached: 0, used: 1 });
    expect(pool.find('A', tokens, 0)).toBe(first);
  });

  it('frees a shared block with the last reference only', () => {
    const pool = new BlockPool(2, 4);
    const block = pool.take()!;
    pool.offer(block, 'A', tokens, 0);
    pool.share(block);
    pool.release(block);
    expect(pool.available).toBe(1);
    pool.release(block);
    expect(pool.available).toBe(2);
    expect(() => pool.release(block)).toThrow('released more often');
  });

  it('forgets all content on reset, that of used blocks included', () => {
    const pool = new BlockPool(2, 4);
    const block = pool.take()!;
    pool.offer(block, 'A', tokens, 0);
    pool.reset();
    expect(pool.find('A', tokens, 0)).toBeUndefined();
    pool.release(block);
    expect(pool.check()).toEqual({ free: 2, cached: 0, used: 0 });
  });

  it('agrees with a simple model after any series of operations', () => {
    const operation = fc.oneof(
      fc.record({ kind: fc.constant('take' as const), hash: fc.option(fc.integer({ min: 0, max: 5 }), { nil: undefined }) }),
      fc.record({ kind: fc.constant('share' as const), hash: fc.integer({ min: 0, max: 5 }) }),
      fc.record({ kind: fc.constant('release' as const), which: fc.nat(20) }),
    );
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 6 }), fc.array(operation, { maxLength: 60 }), (size, operations) => {
        const pool = new BlockPool(size, 2);
        const held: number[] = [];
        const content = (hash: number) => [hash, hash + 1];
        for (const op of operations) {
          if (op.kind === 'take') {
            const block = pool.take();
            expect(block === undefined).toBe(new Set(held).size === size);
            if (block === undefined) continue;
            expect(held).not.toContain(block);
            held.push(block);
            if (op.hash !== undefined) pool.offer(block, String(op.hash), content(op.hash), 0);
          } else if (op.kind === 'share') {
            const block = pool.find(String(op.hash), content(op.hash), 0);
            if (block === undefined) continue;
            pool.share(block);
            held.push(block);
          } else if (held.length > 0) {
            pool.release(held.splice(op.which % held.length, 1)[0]!);
          }
          const counts = pool.check();
          expect(counts.used).toBe(new Set(held).size);
          expect(counts.free + counts.cached + counts.used).toBe(size);
          for (const block of held) expect(pool.references(block)).toBe(held.filter((other) => other === block).length);
        }
      }),
    );
  });
});
