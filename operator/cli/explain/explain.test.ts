import { globSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, it } from 'vitest';
import { errorTable } from '#runtime/api/errors.ts';
import { ExitCode } from '#runtime/api/exit-codes.ts';
import { codesIn, explain, explainable } from './explain.ts';

it.each([
  ['WL_DATA_EMPTY', 'WL_DATA_EMPTY, exit code 64'],
  ['wl_data_empty', 'WL_DATA_EMPTY, exit code 64'],
  ['DataEmpty', 'WL_DATA_EMPTY, exit code 64'],
  ['OutOfMemory', 'WL_OUT_OF_MEMORY, exit code 64'],
  ['64', 'exit code 64 (userError)'],
  ['137', 'exit code 137'],
  ['140', 'exit code 140'],
  ['maxrestartsreached', 'MaxRestartsReached'],
  ['Restarting', 'Restarting'],
])('%s is explained as %s', (word, title) => {
  expect(explain(word, 80).split('\n')[0]).toBe(title);
});

it('says cause and remedy in 80 columns', () => {
  expect(explain('WL_CLUSTER_UNREADY', 80)).toMatchInlineSnapshot(`
    "WL_CLUSTER_UNREADY, exit code 75
      The API server does not answer, or lacks the CRDs or permissions that the
      operator needs.
      What to do: The log names the kind and the answer; install the CRDs, and check
      the role of the service account.
    "
  `);
  for (const word of [...explainable(), ...Object.values(ExitCode).map(String)])
    for (const line of explain(word, 80).split('\n')) expect([...line].length).toBeLessThanOrEqual(80);
});

it.each([
  ['WL_DATAEMPTY', 'did you mean WL_DATA_EMPTY'],
  ['Suspendet', 'did you mean Suspended'],
  ['checkpoint', 'did you mean WL_CHECKPOINT_CORRUPT, WL_CHECKPOINT_MISMATCH'],
  ['300', 'nothing is known about 300; codes look like'],
])('%s is not known, and answered by %s', (word, hint) => {
  expect(() => explain(word, 80)).toThrow(hint);
});

it('says what docs/commands.md shows', () => {
  const page = readFileSync(resolve(import.meta.dirname, '../../../docs/commands.md'), 'utf8');
  expect(page).toContain(explain('WL_RANK_LOST', 80));
});

it('finds codes in any text, once each', () => {
  expect(codesIn('"code":"WL_HANG" then WL_DATA_EMPTY: x, WL_HANG, WL_NOT_A_CODE, WL_SECRET')).toEqual([
    'WL_DATA_EMPTY',
    'WL_HANG',
  ]);
});

it('every reason that a controller gives is explained', () => {
  const root = resolve(import.meta.dirname, '../../..');
  const sources = globSync('operator/controllers/**/*.ts', { cwd: root }).filter((path) => !path.endsWith('.test.ts'));
  const texts = sources.map((path) => readFileSync(join(root, path), 'utf8')).join('\n');
  const reasons = [...texts.matchAll(/\b(?:reason|rule): '([A-Z]\w+)'/g)].map(([, reason = '']) => reason);
  expect(reasons.length).toBeGreaterThan(20);
  const known = new Set([...explainable(), ...Object.keys(errorTable)]);
  expect(reasons.filter((reason) => !known.has(reason))).toEqual([]);
});
