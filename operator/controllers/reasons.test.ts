// docs/failures.md lists every reason with its cause and remedy, and every cause of lost time.
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, it } from 'vitest';
import { endings, refusals, troubles, verdicts } from './reasons.ts';
import { lostCauses } from './training-job/goodput.ts';

const page = readFileSync(resolve(import.meta.dirname, '../../docs/failures.md'), 'utf8');
const tables: Record<string, { cause: string; remedy: string; stalls?: true }>[] = [troubles, refusals, endings, verdicts];

it.each(tables.flatMap((table) => Object.entries(table)))(
  '%s is documented as it is told',
  (reason, { cause, remedy, stalls }) => {
    const row = page.split('\n').find((line) => line.startsWith(`| \`${reason}\` |`));
    expect(row).toContain(`| ${cause} | ${remedy} |`);
    expect(row?.endsWith('| yes |')).toBe(stalls === true);
  },
);

it('a reason is in one table', () => {
  const all = tables.flatMap((table) => Object.keys(table));
  expect(new Set(all).size).toBe(all.length);
});

it.each(lostCauses)('time lost to %s is explained', (cause) => {
  expect(page).toContain(`| \`${cause}\` |`);
});
