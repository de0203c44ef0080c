import { expect, it } from 'vitest';
import { restartDelay } from './restart.ts';

it('the wait before a restart doubles from 200 ms and stays at 30 s', () => {
  expect([0, 1, 2, 7, 8, 5000].map(restartDelay)).toEqual([200, 400, 800, 25_600, 30_000, 30_000]);
});
