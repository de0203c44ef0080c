// What is told of bytes on their way, and how long a server is waited for.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Transfer } from '#runtime/api/messages.ts';
import { digestOfList, formatChecksums, parseChecksums } from './checksums.ts';
import { TransferMeter } from './meter.ts';
import { patience, pauseAfter, retryAfter } from './patience.ts';

describe('a transfer', () => {
  it('tells bytes, the speed of the newest seconds and the time that is left, twice a second at most', () => {
    const told: Transfer[] = [];
    let now = 0;
    const meter = new TransferMeter(
      (transfer) => told.push(transfer),
      () => now,
    );
    for (; now <= 20_000; now += 100) meter.moved(now < 10_000 ? now : 10_000 + 4 * (now - 10_000), 90_000);
    expect(told.length).toBeLessThanOrEqual(41);
    expect(told[0]).toEqual({ bytes: 0, totalBytes: 90_000 });
    expect(told[2]).toEqual({ bytes: 1000, totalBytes: 90_000, bytesPerSecond: 1000, etaSeconds: 89 });
    expect(told.at(-1)).toEqual({ bytes: 50_000, totalBytes: 90_000, bytesPerSecond: 4000, etaSeconds: 10 });
    meter.moved(90_000, 90_000);
    expect(told.at(-1)).toMatchObject({ bytes: 90_000, etaSeconds: 0 });
  });

  it('tells what stands in its way until it goes on, and no speed from before it began anew', () => {
    const told: Transfer[] = [];
    let now = 0;
    const meter = new TransferMeter(
      (transfer) => told.push(transfer),
      () => now,
    );
    meter.moved(1000, undefined);
    meter.setBack('busy', 1500);
    expect(told.at(-1)).toEqual({ bytes: 1000, trouble: 'busy; tried again in 2 s' });
    now = 2000;
    meter.moved(0, undefined);
    expect(told.at(-1)).toEqual({ bytes: 0, trouble: 'busy; tried again in 2 s' });
    now = 3000;
    meter.moved(500, undefined);
    expect(told.at(-1)).toEqual({ bytes: 500, bytesPerSecond: 500 });
  });
});

describe('patience', () => {
  it('doubles the pause up to a minute, and is over after eight minutes without a byte, but not before the third try', () => {
    const pauses = Array.from({ length: 9 }, (_, faults) => pauseAfter(faults + 1, 0, undefined, patience, 1));
    expect(pauses).toEqual([1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]);
    expect(pauseAfter(9, 0, undefined, patience, 0)).toBe(30_000);
    expect(pauseAfter(9, 419_000, undefined, patience, 1)).toBe(60_000);
    expect(pauseAfter(9, 421_000, undefined, patience, 1)).toBeUndefined();
    expect([1, 2, 3].map((faults) => pauseAfter(faults, 9e9, undefined, patience, 1))).toEqual([1000, 2000, undefined]);
  });

  it('is as long as the server wants, up to five minutes', () => {
    expect(pauseAfter(1, 0, 120_000, patience, 1)).toBe(120_000);
    expect(pauseAfter(7, 0, 10, patience, 1)).toBe(60_000);
    expect(pauseAfter(1, 0, 300_001, patience, 1)).toBeUndefined();
  });

  it('reads seconds and dates', () => {
    const now = Date.UTC(2026, 0, 1, 12);
    expect(retryAfter('120', now)).toBe(120_000);
    expect(retryAfter('Thu, 01 Jan 2026 12:00:30 GMT', now)).toBe(30_000);
    expect(retryAfter('Thu, 01 Jan 2026 11:00:30 GMT', now)).toBe(0);
    expect([retryAfter('soon', now), retryAfter(undefined, now)]).toEqual([undefined, undefined]);
  });
});

describe('a list of files', () => {
  const part = fc.stringMatching(/^[a-zA-Z0-9_ -]{1,8}$/).map((text) => `${text}.x`);
  const name = fc.array(part, { minLength: 1, maxLength: 3 }).map((parts) => parts.join('/'));
  const file = fc.record({ name, sha256: fc.stringMatching(/^[0-9a-f]{64}$/) });

  it('is read as it was written, and has one digest in any order', () => {
    fc.assert(
      fc.property(fc.uniqueArray(file, { minLength: 1, selector: ({ name }) => name }), (files) => {
        const read = parseChecksums(formatChecksums(files), 'list');
        expect(new Map(read.map((one) => [one.name, one.sha256]))).toEqual(new Map(files.map((one) => [one.name, one.sha256])));
        expect(digestOfList(read)).toBe(digestOfList(files.toReversed()));
      }),
    );
  });

  it('is read or refused with its line, whatever is in it', () => {
    const line = fc.oneof(
      fc.string(),
      fc.string().map((text) => `${'a'.repeat(64)}  ${text}`),
    );
    fc.assert(
      fc.property(fc.array(line), (lines) => {
        try {
          const names = parseChecksums(lines.join('\n'), 'list').map((one) => one.name);
          expect(names.every((one) => !one.startsWith('/') && !one.split('/').includes('..'))).toBe(true);
        } catch (error) {
          expect(error).toMatchObject({ code: 'WL_REMOTE_REFUSED', message: expect.stringMatching(/^list(,| lists)/) });
        }
      }),
    );
  });

  it('may be that of sha256sum in text or binary mode, and leaves itself out', () => {
    const sums = `${'a'.repeat(64)} *./a.txt\r\n${'b'.repeat(64)}  SHA256SUMS\n${'c'.repeat(64)}  b c.txt\n`;
    expect(parseChecksums(sums, 'list').map(({ name }) => name)).toEqual(['a.txt', 'b c.txt']);
    expect(() => parseChecksums(`${'a'.repeat(64)}  a\n${'a'.repeat(64)}  ./a\n`, 'list')).toThrow(
      'list, line 2: a is listed twice',
    );
  });
});
