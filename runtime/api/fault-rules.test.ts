import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FaultRules } from '#crds/v1alpha1/fault-rules.ts';
import { firstRule, rulesOfJob, saysLike, signalName, signalNumber } from './fault-rules.ts';
import type { FaultFacts } from './fault-rules.ts';

const rules = (...given: object[]) => FaultRules.parse(given.map((rule, index) => ({ name: `rule-${index}`, ...rule })));

describe('the rule of a fault', () => {
  const table: [string, object[], FaultFacts, string | undefined][] = [
    ['is none where there are none', [], { exitCode: 1 }, undefined],
    [
      'is the first that fits',
      [{ exitCodes: [2], action: 'Fail' }, { exitCodes: [1], action: 'Ignore' }, { action: 'Fail' }],
      { exitCode: 1 },
      'rule-1',
    ],
    ['knows exit codes by range, ends included', [{ exitCodes: ['64-78'], action: 'Fail' }], { exitCode: 78 }, 'rule-0'],
    ['and no code beyond the range', [{ exitCodes: ['64-78'], action: 'Fail' }], { exitCode: 79 }, undefined],
    ['knows signals by name', [{ signals: ['SIGSEGV'], action: 'Fail' }], { exitCode: 80, signal: 'SIGSEGV' }, 'rule-0'],
    ['knows error codes', [{ codes: ['WL_DISK_FULL'], action: 'Fail' }], { code: 'WL_DISK_FULL' }, 'rule-0'],
    ['needs all that it gives', [{ codes: ['WL_IO'], ranks: [0], action: 'Fail' }], { code: 'WL_IO', rank: 1 }, undefined],
    ['is for some ranks alone if it says so', [{ ranks: ['1-3'], action: 'Fail' }], { rank: 3 }, 'rule-0'],
    [
      'never is one that asks for what nobody knows',
      [{ exitCodes: ['0-255'], action: 'Fail' }],
      { signal: 'SIGKILL' },
      undefined,
    ],
    ['without conditions fits every end', [{ action: 'RestartGang' }], { reason: 'Evicted' }, 'rule-0'],
    ['but no pod that is still coming up', [{ action: 'RestartGang' }], { reason: 'ImagePull' }, undefined],
    ['is for those if it names them', [{ reasons: ['ImagePull'], action: 'Fail' }], { reason: 'ImagePull' }, 'rule-0'],
    [
      'reads the last log lines',
      [{ log: 'CUDA error: *uncorrectable', action: 'ExcludeNode' }],
      { text: 'a\nCUDA error: an uncorrectable ECC error' },
      'rule-0',
    ],
  ];
  it.each(table)('%s', (_, given, facts, name) => {
    expect(firstRule(rules(...given), facts)?.name).toBe(name);
  });

  it('has a name that no other rule of the job has', () => {
    const twice = FaultRules.safeParse([
      { name: 'same', action: 'Fail' },
      { name: 'same', action: 'Ignore' },
    ]);
    expect(twice.error?.issues.map(({ message }) => message)).toEqual(['rules must have different names']);
  });

  it('is read from the spec that a pod gets, which may have none', () => {
    const spec = JSON.stringify({ faults: { maxRestarts: 3, rules: [{ name: 'oom', exitCodes: [137], action: 'Fail' }] } });
    expect(rulesOfJob(spec).map(({ name }) => name)).toEqual(['oom']);
    expect([rulesOfJob('{}'), rulesOfJob('not JSON')]).toEqual([[], []]);
  });
});

describe('a log pattern', () => {
  it('finds its parts in order and in one line', () => {
    const found = (pattern: string) => saysLike('step 4\nECC error on bank 3\nends', pattern);
    expect(['ECC', 'ECC*bank', '*error*3', 'bank*ECC', 'ecc', 'ECC*ends', 'step*ECC'].map(found)).toEqual([
      true,
      true,
      true,
      false,
      false,
      false,
      false,
    ]);
  });

  it('means what a regular expression with .* for each star means', () => {
    const letters = fc.string({ unit: fc.constantFrom('a', 'b', '\n'), maxLength: 12 });
    const pattern = fc.string({ unit: fc.constantFrom('a', 'b', '*'), minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(letters, pattern, (text, given) => {
        expect(saysLike(text, given)).toBe(new RegExp(given.replaceAll('*', '.*')).test(text));
      }),
    );
  });
});

it('signals have names and numbers', () => {
  expect([signalNumber('SIGKILL'), signalName(11), signalNumber('SIGNOTHING'), signalName(undefined)]).toEqual([
    9,
    'SIGSEGV',
    undefined,
    undefined,
  ]);
});
