import { expect, it } from 'vitest';
import { StepTimes } from './step-times.ts';

it('gives medians of the newest 20 steps, and nothing before the first', () => {
  const times = new StepTimes();
  expect(times.medians()).toEqual({ measuredSteps: 0 });
  times.add(1000, 0);
  for (let step = 1; step <= 20; step++) times.add(100 + step, 40);
  expect(times.medians()).toEqual({ measuredSteps: 20, stepMs: 110, computeMs: 70 });
});
