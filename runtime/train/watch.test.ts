import { expect, it } from 'vitest';
import { judgeStep, meanWith } from './watch.ts';

const faults = { maxRestarts: 3, nonFinite: 'stop' } as const;
const spike = { factor: 10, action: 'skip' } as const;

it.each([
  ['finite numbers', faults, { loss: 2, gradientNorm: 50 }, 1, 'go'],
  ['a loss that is not a number', faults, { loss: NaN, gradientNorm: 1 }, 1, 'stop'],
  [
    'an infinite norm, where the job rolls back',
    { ...faults, nonFinite: 'rollback' },
    { loss: 2, gradientNorm: Infinity },
    1,
    'rollback',
  ],
  ['a spike', { ...faults, gradientSpike: spike }, { loss: 2, gradientNorm: 10.5 }, 1, 'skip'],
  [
    'a spike where the job stops',
    { ...faults, gradientSpike: { ...spike, action: 'stop' } },
    { loss: 2, gradientNorm: 10.5 },
    1,
    'stop',
  ],
  ['a norm at the limit', { ...faults, gradientSpike: spike }, { loss: 2, gradientNorm: 10 }, 1, 'go'],
  ['a large norm before there is a mean', { ...faults, gradientSpike: spike }, { loss: 2, gradientNorm: 99 }, undefined, 'go'],
] as const)('%s: %o', (_name, faults, result, mean, action) => {
  expect(judgeStep(faults as never, 7, result, mean).action).toBe(action);
});

it('follows the norms slowly, from the first one on', () => {
  expect(meanWith(4, undefined)).toBe(4);
  expect(meanWith(104, 4)).toBe(6);
});
