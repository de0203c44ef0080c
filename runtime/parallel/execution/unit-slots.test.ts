import { beforeEach, describe, expect, test } from 'vitest';
import { UnitSlots } from './unit-slots.ts';

let log: string[];
const slotsOf = (count: number) =>
  new UnitSlots<string>(count, {
    fill: (slot, unit) => log.push(`${unit} into ${slot}`),
    empty: (_, unit) => log.push(`no ${unit}`),
  });
const compute = (slots: UnitSlots<string>, unit: string, next?: string) => {
  slots.use(unit);
  slots.prefetch(next);
  slots.done(unit);
};
beforeEach(() => (log = []));

describe('two slots', () => {
  test('get the next unit while one is in use, and what was used last stays', () => {
    const slots = slotsOf(2);
    compute(slots, 'a', 'b');
    compute(slots, 'b', 'c');
    compute(slots, 'c');
    expect(log).toEqual(['a into 0', 'b into 1', 'no a', 'c into 0']);
    expect(slots.use('b')).toBe(1);
  });

  test('hold a unit in use against all others', () => {
    const slots = slotsOf(2);
    slots.use('a');
    slots.use('b');
    slots.prefetch('c');
    expect(log).toEqual(['a into 0', 'b into 1']);
    expect(() => slots.use('c')).toThrow('all slots of gathered weights are in use');
  });

  test('are filled with what comes first, and with what comes after once a pass has nothing left to gather', () => {
    const slots = slotsOf(2);
    slots.unshard(['a', 'b']);
    slots.unshard(['c', 'd']);
    expect(log).toEqual(['a into 0', 'b into 1']);
    compute(slots, 'a', 'b');
    compute(slots, 'b');
    expect(log.slice(2)).toEqual(['no a', 'c into 0']);
  });

  test('lose what was given back before what was used longer ago', () => {
    const slots = slotsOf(2);
    compute(slots, 'a');
    compute(slots, 'b');
    slots.reshard(['b']);
    slots.use('c');
    expect(log.slice(2)).toEqual(['no b', 'c into 1']);
  });

  test('forget what was announced once it is given back', () => {
    const slots = slotsOf(2);
    slots.unshard(['a', 'b', 'c']);
    slots.reshard(['a', 'b', 'c']);
    slots.prefetch(undefined);
    expect(log).toEqual(['a into 0', 'b into 1']);
  });
});

test('a slot for each unit gathers all that is announced at once', () => {
  const slots = slotsOf(4);
  slots.unshard(['a', 'b']);
  slots.unshard(['d', 'c']);
  expect(log).toEqual(['a into 0', 'b into 1', 'd into 2', 'c into 3']);
});

test('nothing is there once the weights have changed', () => {
  const slots = slotsOf(2);
  slots.unshard(['a', 'b', 'c']);
  slots.forget();
  slots.prefetch(undefined);
  expect(log).toEqual(['a into 0', 'b into 1', 'no a', 'no b']);
});
