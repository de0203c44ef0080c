// The archives are read by others as they were meant, and are the same in every build.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readlinkSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { packImage } from './layout.ts';
import { tar } from './tar.ts';
import type { Entry } from './tar.ts';

const long = `app/${'long-folder-name/'.repeat(9)}file.txt`;
const entries: Entry[] = [
  { path: 'b/program', type: 'file', data: Buffer.from('#!'), executable: true },
  { path: 'a.txt', type: 'file', data: Buffer.from('x'.repeat(513)) },
  { path: long, type: 'file', data: Buffer.from('deep') },
  { path: 'tmp', type: 'directory', mode: 0o1777 },
  { path: 'link', type: 'link', target: 'a.txt' },
];

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'wl-tar-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

test('tar unpacks what was packed: contents, modes, links and long names', () => {
  execFileSync('tar', ['-xp', '-C', folder], { input: tar(entries) });
  expect(readFileSync(join(folder, 'a.txt'), 'utf8')).toBe('x'.repeat(513));
  expect(readFileSync(join(folder, long), 'utf8')).toBe('deep');
  expect(readlinkSync(join(folder, 'link'))).toBe('a.txt');
  const mode = (path: string) => (statSync(join(folder, path)).mode & 0o7777).toString(8);
  expect([mode('b/program'), mode('a.txt'), mode('tmp'), mode('b')]).toEqual(['755', '644', '1777', '755']);
});

test('the order in which files come does not change a bit', () => {
  expect(tar(entries.toReversed()).equals(tar(entries))).toBe(true);
});

test('the digest of an image changes with a file, and with nothing else', () => {
  const config = { entrypoint: ['/b/program'], user: '1:1' };
  const { digest } = packImage('a:1', [entries], config);
  expect(packImage('b:2', [entries.toReversed()], config).digest).toBe(digest);
  const other: Entry = { path: 'a.txt', type: 'file', data: Buffer.from('y') };
  expect(packImage('a:1', [[other, ...entries.slice(2)]], config).digest).not.toBe(digest);
});
