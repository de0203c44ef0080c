// The counting of runners: one that crashes, leaves no report or runs nothing is a failure, never a silent pass.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { close, runCtest } from './runners.ts';

const exitCode = process.exitCode;
afterEach(() => {
  process.exitCode = exitCode;
  vi.restoreAllMocks();
});

test('a build folder without tests counts as one failure', async () => {
  vi.spyOn(console, 'log').mockImplementation(() => undefined);
  const folder = mkdtempSync(join(tmpdir(), 'windlass-ctest-'));
  writeFileSync(join(folder, 'build.ninja'), 'build all: phony\ndefault all\n');
  expect(await runCtest(folder)).toEqual({ passed: 0, failed: 1 });
  rmSync(folder, { recursive: true });
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
