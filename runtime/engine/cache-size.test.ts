// The size of the cache: as asked for, else as much as is of use and the machine can spare.
import { describe, expect, it } from 'vitest';
import { planCache } from './cache-size.ts';

const wishes = { bytesPerToken: 1000, blockSize: 16, contextLength: 100, maxSequences: 4, freeBytes: 1e12 };

describe('planCache', () => {
  it('takes as many whole blocks as the bytes asked for hold', () => {
    expect(planCache({ ...wishes, cacheBytes: 200_000 })).toBe(12);
  });

  it('refuses less than one sequence of full length needs, naming both', () => {
    expect(() => planCache({ ...wishes, cacheBytes: 111_999 })).toThrow(
      'spec.engine.cacheBytes: 111999 bytes; one sequence of 100 tokens needs 112000',
    );
    expect(planCache({ ...wishes, cacheBytes: 112_000 })).toBe(7);
  });

  it('is enough for all sequences by default, but no more than 1 GiB and a quarter of the free memory', () => {
    expect(planCache(wishes)).toBe(28);
    expect(planCache({ ...wishes, maxSequences: 1_000_000 })).toBe(Math.floor(1024 ** 3 / 16_000));
    expect(planCache({ ...wishes, freeBytes: 1_000_000 })).toBe(15);
  });

  it('holds one sequence of full length however little memory is free', () => {
    expect(planCache({ ...wishes, freeBytes: 0 })).toBe(7);
  });
});
