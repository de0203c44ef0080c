import { describe, expect, test } from 'vitest';
import { activationBytes, gatherCounts } from './order.ts';

const grains = (count: number) =>
  Array.from({ length: count }, () => [
    { type: 'forward', stage: 0 },
    { type: 'backward', stage: 0 },
  ]).flat();

describe('activations', () => {
  const sizes = { kept: 10, deferred: 4, working: 1, deferring: 0 };

  test('are held from forward to backward, with the working bytes of one stage', () => {
    expect(activationBytes(grains(3), new Map([[0, sizes]]))).toBe(11);
    const all = [...Array.from({ length: 3 }, () => ({ type: 'forward', stage: 0 })), { type: 'backward', stage: 0 }];
    expect(activationBytes(all, new Map([[0, sizes]]))).toBe(31);
  });

  test('give way to what weight gradients need where those wait', () => {
    const split = ['forward', 'backwardInput', 'forward', 'backwardInput', 'backwardWeight', 'backwardWeight'];
    const actions = split.map((type) => ({ type, stage: 0 }));
    expect(activationBytes(actions, new Map([[0, sizes]]))).toBe(15);
  });
});

describe('gathers of weights', () => {
  const units = ['embedding', 'block 0', 'block 1', 'block 2', 'head'];
  const stages = new Map([[0, units]]);

  test('two slots gather what is not there from the last use, forwards and backwards', () => {
    expect(gatherCounts(grains(1), stages, 'head', 2)).toEqual(
      new Map([
        ['embedding', 2],
        ['block 0', 2],
        ['block 1', 2],
        ['block 2', 1],
        ['head', 1],
      ]),
    );
  });

  test('what is announced ahead is gathered while the last unit of the pass before is in use, and once', () => {
    const two = new Map([
      [0, ['block 0', 'block 1', 'block 2']],
      [1, ['block 3', 'block 4', 'block 5']],
    ]);
    const action = (type: string, stage: number) => ({ type, stage });
    const actions = [
      action('unshard', 0),
      action('unshard', 1),
      action('forward', 0),
      action('reshard', 0),
      action('forward', 1),
    ];
    expect(gatherCounts(actions, two, undefined, 2).values().toArray()).toEqual([1, 1, 1, 1, 1, 1]);
  });

  test('what a schedule gives back goes before what was used longer ago, and is there until then', () => {
    const two = new Map([
      [0, ['block 0']],
      [1, ['block 1']],
      [2, ['block 2']],
    ]);
    const forward = (stage: number) => ({ type: 'forward', stage });
    const back = { type: 'reshard', stage: 1 };
    expect(gatherCounts([forward(0), forward(1), back, forward(2), forward(0)], two, undefined, 2).get('block 0')).toBe(1);
    expect(gatherCounts([forward(0), forward(1), back, forward(1)], two, undefined, 2).get('block 1')).toBe(1);
  });

  test('a slot for each unit gathers it once per step', () => {
    expect([...gatherCounts(grains(4), stages, 'head', 5).values()]).toEqual([1, 1, 1, 1, 1]);
  });
});
