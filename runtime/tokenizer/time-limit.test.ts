// Who computes too long is ended, and who only waited for the processor is not.
import { expect, it } from 'vitest';
import { withinTime } from './time-limit.ts';

const nobodyWakes = new Int32Array(new SharedArrayBuffer(4));

it('ends what computes for too long, and calls the next one as if nothing had been', () => {
  const endless = () => {
    for (;;);
  };
  expect(() => withinTime(20, endless)).toThrow('timed out');
  expect(withinTime(60_000, () => 'done')).toBe('done');
});

it('calls again what did not have the processor', () => {
  let calls = 0;
  const starved = () => {
    calls += 1;
    if (calls === 1) Atomics.wait(nobodyWakes, 0, 0);
    return 'done';
  };
  expect(withinTime(1000, starved)).toBe('done');
  expect(calls).toBeGreaterThan(1);
});

it('gives up on what never has the processor', () => {
  expect(() => withinTime(10, () => Atomics.wait(nobodyWakes, 0, 0))).toThrow('timed out');
});

it('passes on what is thrown', () => {
  const refusal = new Error('no');
  const refuse = () => {
    throw refusal;
  };
  expect(() => withinTime(60_000, refuse)).toThrow(refusal);
});
