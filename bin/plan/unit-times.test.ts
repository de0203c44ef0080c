import { expect, test } from 'vitest';
import { isWindlassError } from '#runtime/api/errors.ts';
import type { RankTraceFile, TracedAction, TracedUnit } from './trace-files.ts';
import { unitTimes } from './unit-times.ts';

type Told = [type: TracedAction['type'], stage: number, passes: string, rest?: number];

/** A trace of one rank, action after action, each with its passes in words: `f1:20` is 20 ms forward through unit 1. */
function traceOf(...told: Told[]): RankTraceFile {
  const [actions, units]: [TracedAction[], TracedUnit[]] = [[], []];
  let now = 1000;
  for (const [grain, [type, stage, passes, rest = 0]] of told.entries()) {
    const start = now;
    for (const [, letter, unit, took] of passes.matchAll(/([fb])(\d+):(\d+)/g)) {
      const pass = letter === 'f' ? 'forward' : 'backward';
      units.push({ step: 1, unit: Number(unit), pass, start: now, end: now + Number(took) });
      now += Number(took);
    }
    now += rest;
    actions.push({ step: 1, type, stage, grain, start, end: now });
  }
  return { path: 'trace', world: 2, actions, units };
}

test('a unit takes the median of its passes, over all ranks', () => {
  const first = traceOf(
    ['forward', 0, 'f0:1 f1:10'],
    ['forward', 0, 'f0:2 f1:20'],
    ['backward', 0, 'b1:30 b0:3'],
    ['backward', 0, 'b1:50 b0:5'],
  );
  const slow = traceOf(['forward', 0, 'f0:9 f1:90'], ['backward', 0, 'b1:80 b0:8']);
  const last = traceOf(['forward', 1, 'f2:11'], ['backward', 1, 'f3:4 b3:6 b2:33']);
  expect(unitTimes([slow, first, last], 2)).toEqual([
    { forward: 2, backward: 5 },
    { forward: 20, backward: 50 },
    { forward: 11, backward: 33 },
    { forward: 4, backward: 6 },
  ]);
});

test('gradients of weights that come later are shared out by the forward passes of their stage', () => {
  const split = traceOf(
    ['forward', 0, 'f0:2 f1:10 f2:20'],
    ['backwardInput', 0, 'f3:4 b3:6 b2:22 b1:12 b0:1'],
    ['backwardWeight', 0, '', 72],
  );
  expect(unitTimes([split], 2)).toEqual([
    { forward: 2, backward: 1 + 4 },
    { forward: 10, backward: 12 + 20 },
    { forward: 20, backward: 22 + 40 },
    { forward: 4, backward: 6 + 8 },
  ]);
});

test('traces of a model with fewer layers, or more, are refused', () => {
  const trace = traceOf(['forward', 0, 'f0:1 f1:1 f2:1'], ['backward', 0, 'f3:1 b3:1 b2:1 b1:1 b0:1']);
  const answer = (layers: number) => {
    try {
      return `${unitTimes([trace], layers).length} units`;
    } catch (error) {
      if (isWindlassError(error)) return `${error.code} ${error.message}`;
      throw error;
    }
  };
  expect([1, 2, 3].map(answer)).toEqual([
    'WL_USAGE trace is of a model with more than 1 layers',
    '4 units',
    'WL_USAGE trace: the traces of 1 of 2 ranks have no pass through head; is it another model?',
  ]);
});
