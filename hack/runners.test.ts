// The counting of runners: one that crashes, leaves no report or runs nothing is a failure, never a silent pass.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { close, ctestCounts, runCtest, vitestCounts } from './runners.ts';

const exitCode = process.exitCode;
afterEach(() => {
  process.exitCode = exitCode;
  vi.restoreAllMocks();
});

test('a build folder without tests counts as one failure', async () => {
  vi.spyOn(console, 'log').mockImplementation(() => undefined);
  const folder = mkdtempSync(join(tmpdir(), 'windlass-ctest-'));
  writeFileSync(join(folder, 'build.ninja'), 'build all: phony\ndefault all\n');
  expect(await runCtest(folder)).toMatchObject({ passed: 0, failed: 1 });
  rmSync(folder, { recursive: true });
});

function file(name: string, results: Record<string, string>, message = ''): Parameters<typeof vitestCounts>[0][number] {
  const tests = Object.entries(results);
  return {
    name: join(import.meta.dirname, '..', name),
    status: tests.some(([, status]) => status === 'failed') || message !== '' ? 'failed' : 'passed',
    message,
    assertionResults: tests.map(([fullName, status]) => ({
      fullName,
      status,
      failureMessages: status === 'failed' ? [`Error: of ${fullName}`] : [],
    })),
  };
}

test('failed tests, and files that fail outside their tests, are counted and named with their message', () => {
  expect(
    vitestCounts([
      file('a.test.ts', { one: 'passed', two: 'failed', three: 'skipped' }),
      file('b.test.ts', {}, 'SyntaxError: what is this'),
    ]),
  ).toEqual({
    passed: 1,
    failed: 2,
    notes: ['failed: a.test.ts > two\nError: of two', 'failed: b.test.ts\nSyntaxError: what is this'],
  });
});

test('a second try counts in the place of the first; what passed only then is named', () => {
  const first = [file('a.test.ts', { one: 'passed' }), file('b.test.ts', { two: 'failed', three: 'failed', four: 'passed' })];
  expect(vitestCounts(first, [file('b.test.ts', { two: 'passed', three: 'failed', four: 'passed' })])).toEqual({
    passed: 3,
    failed: 1,
    notes: ['passed only at the second try: b.test.ts > two\nError: of two', 'failed: b.test.ts > three\nError: of three'],
  });
});

test('native tests that failed are counted and named with the end of their output', () => {
  const report = `<testsuite name="x" tests="4" failures="1" disabled="0" skipped="1">
    <testcase name="good" status="run"><system-out>fine</system-out></testcase>
    <testcase name="bad" status="fail"><failure message=""/><system-out>first
last</system-out></testcase></testsuite>`;
  expect(ctestCounts('build/x', report)).toEqual({ passed: 2, failed: 1, notes: ['failed: build/x: bad\nfirst\nlast'] });
});

test('a second try of native tests counts in the place of the first; what passed only then is named', () => {
  const first = `<testsuite name="x" tests="3" failures="2" disabled="0" skipped="0">
    <testcase name="good" status="run"><system-out>fine</system-out></testcase>
    <testcase name="comm-a" status="fail"><failure message=""/><system-out>slow</system-out></testcase>
    <testcase name="comm-b" status="fail"><failure message=""/><system-out>wrong</system-out></testcase></testsuite>`;
  const second = `<testsuite name="x" tests="2" failures="1" disabled="0" skipped="0">
    <testcase name="comm-a" status="run"><system-out>fine</system-out></testcase>
    <testcase name="comm-b" status="fail"><failure message=""/><system-out>wrong</system-out></testcase></testsuite>`;
  expect(ctestCounts('build/x', first, second)).toEqual({
    passed: 2,
    failed: 1,
    notes: ['passed only at the second try: build/x: comm-a\nslow', 'failed: build/x: comm-b\nwrong'],
  });
  const alone = `<testsuite name="x" tests="1" failures="0" disabled="0" skipped="0">
    <testcase name="comm-a" status="run"></testcase></testsuite>`;
  expect(ctestCounts('build/x', first, alone)).toMatchObject({ passed: 2, failed: 1 });
});

test.each([
  [[{ passed: 3, failed: 0 }], '3 passed, 0 failed', 0],
  [
    [
      { passed: 3, failed: 1 },
      { passed: 2, failed: 0 },
    ],
    '5 passed, 1 failed',
    1,
  ],
  [[{ passed: 0, failed: 0 }], '0 passed, 0 failed', 1],
])('the closing line and exit code of %j', (counts, line, code) => {
  const log = vi.spyOn(console, 'log').mockImplementation(() => undefined);
  close(counts);
  expect(log.mock.calls).toEqual([[line]]);
  expect(process.exitCode).toBe(code);
});
