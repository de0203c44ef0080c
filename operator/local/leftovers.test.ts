import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { endLeftovers, recordProcess } from './leftovers.ts';

let pods: string;
beforeEach(() => void (pods = mkdtempSync(join(tmpdir(), 'wl-pods-'))));
afterEach(() => rmSync(pods, { recursive: true, force: true }));

async function startPod(name: string, script: string) {
  const child = spawn(process.execPath, ['-e', `${script}; console.log('up'); setInterval(() => {}, 1000)`], {
    detached: true,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  mkdirSync(join(pods, name));
  await recordProcess(join(pods, name), child.pid!);
  return { child, ended: once(child, 'exit') as Promise<[number | null, string | null]> };
}

it('ends what the pods of an earlier life left running: gently, then by force', async () => {
  const gentle = await startPod('a', `process.on('SIGTERM', () => process.exit(7))`);
  const stubborn = await startPod('b', `process.on('SIGTERM', () => {})`);
  mkdirSync(join(pods, 'c'));
  writeFileSync(join(pods, 'c/process.json'), '{"pid": 1');
  await endLeftovers(pods, 300);
  expect(await gentle.ended).toEqual([7, null]);
  expect(await stubborn.ended).toEqual([null, 'SIGKILL']);
  expect(existsSync(pods)).toBe(false);
});

it('leaves a stranger alone that has got the number of a process that is gone', async () => {
  const stranger = await startPod('a', '');
  const record = join(pods, 'a/process.json');
  writeFileSync(record, JSON.stringify({ ...(JSON.parse(readFileSync(record, 'utf8')) as object), startTicks: '1' }));
  await endLeftovers(pods, 0);
  expect(stranger.child.exitCode).toBeNull();
  stranger.child.kill('SIGKILL');
  expect(await stranger.ended).toEqual([null, 'SIGKILL']);
});
