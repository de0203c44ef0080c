import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { stateDirOf } from '#operator/local/state-dir.ts';
import { printLogs } from './instance-logs.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'wl-logs-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function logPath(pod: string): string {
  mkdirSync(join(folder, 'logs/default', pod), { recursive: true });
  return join(folder, 'logs/default', pod, 'agent.log');
}

async function printed(name: string): Promise<string> {
  let text = '';
  const options = { follow: false, signal: new AbortController().signal, write: (more: string) => void (text += more) };
  await printLogs(stateDirOf(folder), name, options);
  return text;
}

it('names the pod in each line where there are several, and leaves the lines of a single one as they are', async () => {
  writeFileSync(logPath('m-worker-0'), 'one\n\ntwo\n');
  expect(await printed('m')).toBe('one\n\ntwo\n');
  writeFileSync(logPath('m-worker-1'), 'three\ncut o');
  expect((await printed('m')).split('\n').sort()).toEqual(
    ['', 'm-worker-0: one', 'm-worker-0: two', 'm-worker-1: three', 'm-worker-1: cut o'].sort(),
  );
  expect(await printed('m-worker-1')).toBe('three\ncut o');
});

it('follows in whole lines', async () => {
  const path = logPath('m-worker-0');
  writeFileSync(path, 'begin');
  const stop = new AbortController();
  const pieces: string[] = [];
  const printing = printLogs(stateDirOf(folder), 'm', {
    follow: true,
    signal: stop.signal,
    write: (text) => {
      pieces.push(text);
      if (text.includes('end')) stop.abort();
    },
  });
  appendFileSync(path, '\nend\n');
  await printing;
  expect(pieces.join('')).toBe('begin\nend\n');
  expect(pieces.every((piece) => piece.endsWith('\n'))).toBe(true);
});
