import { describe, expect, it } from 'vitest';
import { ExitCode } from '#runtime/api/exit-codes.ts';
import { decideAfterExit } from './restart.ts';

const code = (value: number) => ({ code: value, signal: null });
const killed = { code: null, signal: 'SIGKILL' } as const;

describe('what follows when a rank ended', () => {
  it.each([
    ['done ends', code(ExitCode.done), 0, 3, false, { action: 'end', exitCode: 0 }],
    [
      'a user error ends at once, whatever budget is left',
      code(ExitCode.userError),
      0,
      3,
      false,
      { action: 'end', exitCode: 64 },
    ],
    ['a signal restarts in place', killed, 0, 3, false, { action: 'restart', delayMs: 200 }],
    ['the delay doubles', killed, 2, 3, false, { action: 'restart', delayMs: 800 }],
    ['the delay stays below 30 s', killed, 20, 30, false, { action: 'restart', delayMs: 30_000 }],
    [
      'the budget is exact: the third restart is the last of three',
      killed,
      3,
      3,
      false,
      { action: 'end', exitCode: ExitCode.rankLost },
    ],
    [
      'corrupt data restarts: the loader falls back to the last good checkpoint',
      code(ExitCode.dataCorrupt),
      0,
      3,
      false,
      { action: 'restart', delayMs: 200 },
    ],
    ['nothing restarts while stopping', killed, 0, 3, true, { action: 'end', exitCode: ExitCode.rankLost }],
    ['a preempted rank stays down', code(ExitCode.preempted), 0, 3, false, { action: 'end', exitCode: ExitCode.preempted }],
  ] as const)('%s', (_, exit, restarts, budget, stopping, expected) => {
    expect(decideAfterExit(exit, restarts, budget, stopping)).toEqual(expected);
  });
});
