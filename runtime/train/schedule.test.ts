import { describe, expect, it } from 'vitest';
import { learningRateAt } from './schedule.ts';

const config = { learningRate: 1, warmupSteps: 10, finalLearningRateRatio: 0.1, steps: 110 } as const;

describe('learning rate', () => {
  it.each([
    ['cosine', 1, 0.1],
    ['cosine', 10, 1],
    ['cosine', 60, 0.55],
    ['cosine', 110, 0.1],
    ['linear', 60, 0.55],
    ['linear', 35, 0.775],
    ['linear', 110, 0.1],
    ['constant', 110, 1],
  ] as const)('%s at step %i is %f', (schedule, step, expected) => {
    expect(learningRateAt(step, { ...config, schedule })).toBeCloseTo(expected, 12);
  });

  it('starts at the full rate without warm-up', () => {
    expect(learningRateAt(1, { ...config, warmupSteps: 0, schedule: 'constant' })).toBe(1);
  });
});
