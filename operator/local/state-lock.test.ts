import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { identify } from './process-identity.ts';
import { makeStateDir, stateDirOf } from './state-dir.ts';
import type { StateDir } from './state-dir.ts';
import { findHolder, lockState, untilEnded } from './state-lock.ts';

let folder: string;
let state: StateDir;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'wl-lock-'));
  state = stateDirOf(join(folder, 'state'));
  makeStateDir(state);
});
afterEach(() => rmSync(folder, { recursive: true }));

it('lets one of many have the folder, also by another name, and the next one when it is released', async () => {
  symlinkSync(state.path, join(folder, 'link'));
  const link = stateDirOf(join(folder, 'link'));
  const attempts = await Promise.allSettled([state, link, state, link].map(lockState));
  const [winner, ...others] = attempts.filter(({ status }) => status === 'fulfilled') as PromiseFulfilledResult<() => void>[];
  expect(others).toEqual([]);
  expect(attempts.filter(({ status }) => status === 'rejected')).toHaveLength(3);
  await expect(lockState(state)).rejects.toMatchObject({
    code: 'WL_STATE_IN_USE',
    message: `another windlass (process ${process.pid}) runs on the state folder ${state.path}`,
  });
  winner!.value();
  const release = await lockState(link);
  release();
});

it('says which process holds the folder, and waits for its end, but not for ever', async () => {
  const release = await lockState(state);
  expect(await findHolder(state)).toMatchObject({ pid: process.pid });
  release();
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)']);
  const holder = await identify(child.pid!);
  expect(await untilEnded(holder!, 20)).toBe(false);
  child.kill();
  expect(await untilEnded(holder!, 10_000)).toBe(true);
});
