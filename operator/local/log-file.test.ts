import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { openLogFile } from './log-file.ts';

let folder: string;
beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), 'wl-log-'))));
afterEach(() => rmSync(folder, { recursive: true }));

it('goes on in the file of an earlier life', () => {
  const path = join(folder, 'a.log');
  for (const line of ['one\n', 'two\n']) openLogFile(path).end(line);
  expect(readFileSync(path, 'utf8')).toBe('one\ntwo\n');
});

it('keeps the newest lines, whole, in at most two files of the limit', () => {
  const log = openLogFile(join(folder, 'a.log'), 100);
  const lines = Array.from({ length: 60 }, (_, index) => `line ${index}\n`);
  for (const line of lines) log.write(line);
  expect(readdirSync(folder).sort()).toEqual(['a.1.log', 'a.log']);
  for (const name of readdirSync(folder)) expect(statSync(join(folder, name)).size).toBeLessThanOrEqual(100);
  const kept = ['a.1.log', 'a.log'].map((name) => readFileSync(join(folder, name), 'utf8')).join('');
  expect(lines.join('').endsWith(kept)).toBe(true);
  expect(kept.length).toBeGreaterThan(100);
});

it('reports what it cannot write', async () => {
  const log = openLogFile(join(folder, 'missing', 'a.log'));
  const error = new Promise((resolve) => log.on('error', resolve));
  log.write('x');
  expect(await error).toMatchObject({ code: 'ENOENT' });
});
