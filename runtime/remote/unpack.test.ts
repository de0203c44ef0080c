// Archives of texts: what they hold comes out, whole or not at all, and nothing ever leaves its folder.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { paxRecord, rawTar } from './tar-testing.ts';
import { isUnpacked, packingOf, unpack, unpackedFiles } from './unpack.ts';

const texts = /\.(txt|jsonl)$/;

let root: string;
let folder: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'wl-unpack-'));
  folder = join(root, 'place/unpacked');
  mkdirSync(join(root, 'place'));
});
afterEach(() => rmSync(root, { recursive: true }));

async function unpacked(archive: Uint8Array, name = 'data.tar', needs: number[] = []): Promise<Record<string, string>> {
  const path = join(root, 'place', name);
  writeFileSync(path, archive);
  await unpack(path, packingOf(name)!, folder, {
    place: 'ARCHIVE',
    only: texts,
    words: '.txt or .jsonl file',
    needs: (bytes) => Promise.resolve(void needs.push(bytes)),
    onBytes: () => {},
  });
  return contents();
}

/** What lies in the folder of files, by name. */
function contents(): Record<string, string> {
  const files = unpackedFiles(folder);
  const entries = readdirSync(files, { withFileTypes: true, recursive: true }).filter((entry) => !entry.isDirectory());
  expect(entries.every((entry) => entry.isFile())).toBe(true);
  const paths = entries.map((entry) => join(entry.parentPath, entry.name)).toSorted();
  return Object.fromEntries(paths.map((path) => [path.slice(files.length + 1), readFileSync(path, 'utf8')]));
}

const left = () => readdirSync(root, { recursive: true }).map(String).toSorted();

describe('an archive', () => {
  const long = `${'long/'.repeat(40)}${'n'.repeat(120)}.txt`;

  it.each(['ustar', 'pax', 'gnu', 'v7', 'oldgnu'])(
    'of the format %s is unpacked as tar does, packed by gzip or not',
    async (format) => {
      const source = join(root, 'source');
      const names = ['a.txt', 'deep/er/b.jsonl', 'deep/naïve 鯨.txt', ...(['pax', 'gnu'].includes(format) ? [long] : [])];
      for (const name of [...names, 'README.md', '.hidden.txt', '.git/c.txt', 'deep/._a.txt']) {
        mkdirSync(join(source, name, '..'), { recursive: true });
        writeFileSync(join(source, name), name.repeat(300));
      }
      const made = (...flags: string[]) =>
        execFileSync('tar', [`--format=${format}`, ...flags, '-C', source, '.'], { maxBuffer: 2 ** 24 });
      const wanted = Object.fromEntries(names.toSorted().map((name) => [name, name.repeat(300)]));
      expect(await unpacked(made('-c'))).toEqual(wanted);
      expect(await unpacked(made('-cz'), 'data.tar.gz')).toEqual(wanted);
      expect(await unpacked(made('-cz'), 'data.tgz')).toEqual(wanted);
      expect(await isUnpacked(folder, () => {})).toBe(true);
    },
  );

  it('tells how much it will be before it writes, and is the same however its bytes are cut', async () => {
    const needs: number[] = [];
    const content = 'x'.repeat(700_001);
    const archive = rawTar({ name: 'a.txt', content }, { name: 'image.png', content: 'none' }, { name: 'empty.txt' });
    expect(await unpacked(archive, 'data.tar', needs)).toEqual({ 'a.txt': content, 'empty.txt': '' });
    // Members of gzip that end in the middle of headers and contents.
    const members = [0, 100, 513, 1000, 512 * 900, archive.length].map((at, index, all) =>
      gzipSync(archive.subarray(all[index - 1] ?? 0, at)),
    );
    expect(await unpacked(Buffer.concat(members), 'data.tar.gz', needs)).toEqual({ 'a.txt': content, 'empty.txt': '' });
    expect(needs).toEqual([700_001, 700_001]);
  });

  it('may have names and sizes beside the header, in the ways of pax and GNU', async () => {
    const archive = rawTar(
      { name: 'pax_global', type: 'g', content: paxRecord('comment', 'of git archive') },
      { name: 'pax', type: 'x', content: paxRecord('path', 'b/naïve.txt') + paxRecord('size', '3') },
      { name: 'short.txt', content: 'one', size: 0 },
      { name: '././@LongLink', type: 'L', content: `${'d/'.repeat(60)}c.txt\0` },
      { name: 'd/c.txt', content: 'two' },
      { name: 'in-front.txt', prefix: 'the/folder', content: 'three' },
      { name: 'old.txt', type: '\0', content: 'four' },
      { name: './/e/', type: '5' },
      { name: 'pax', type: 'x', content: paxRecord('path', 'of two\u2028lines.txt') },
      { name: 'x', content: 'six' },
      { name: './e/base256.txt', content: 'five', size: `\x80${'\0'.repeat(10)}\x04` },
    );
    expect(await unpacked(archive)).toEqual({
      'b/naïve.txt': 'one',
      [`${'d/'.repeat(60)}c.txt`]: 'two',
      'the/folder/in-front.txt': 'three',
      'old.txt': 'four',
      'e/base256.txt': 'five',
      'of two\u2028lines.txt': 'six',
    });
    expect(await isUnpacked(folder, () => {})).toBe(true);
  });

  const a = { name: 'a.txt', content: 'one' };
  it.each<[string, Uint8Array, string]>([
    ['a name that leads out', rawTar(a, { name: '../b.txt' }), '"../b.txt" is no path within the archive'],
    ['one that leads out from within', rawTar({ name: 'a/../../b.txt' }), '"a/../../b.txt" is no path within the archive'],
    ['an absolute name', rawTar({ name: '/b.txt' }), '"/b.txt" is no path within the archive'],
    [
      'an absolute name by pax',
      rawTar({ name: 'p', type: 'x', content: paxRecord('path', '/etc/b.txt') }, a),
      '"/etc/b.txt" is no path',
    ],
    ['a name of another system', rawTar({ name: 'a\\b.txt' }), '"a\\\\b.txt" is no path within the archive'],
    ['no name', rawTar({ name: '' }), '"" is no path within the archive'],
    ['a name that is not UTF-8', rawTar({ name: Buffer.from([0x61, 0xff, 0x2e]) }), 'the name of entry 1 is not UTF-8'],
    [
      'a name longer than file systems have',
      rawTar({ name: 'x', type: 'L', content: `${'n'.repeat(256)}.txt` }, a),
      'is no path within',
    ],
    ['a symbolic link', rawTar({ name: 'b.txt', type: '2', target: '/etc/passwd' }), '"b.txt" is a link'],
    ['a folder that is a link', rawTar({ name: 'b', type: '2', target: '/tmp' }, { name: 'b/c.txt' }), '"b" is a link'],
    ['a hard link', rawTar(a, { name: 'b.txt', type: '1', target: 'a.txt' }), '"b.txt" is a link'],
    ['a device', rawTar({ name: 'b.txt', type: '3' }), '"b.txt" is a device'],
    ['a sparse file', rawTar({ name: 'b.txt', type: 'S' }), '"b.txt" is of an unknown kind'],
    [
      'a sparse file by pax',
      rawTar({ name: 'p', type: 'x', content: paxRecord('GNU.sparse.major', '1') }, a),
      'attributes of entry 1',
    ],
    ['a name twice', rawTar(a, { name: './a.txt' }), '"./a.txt" is in the archive twice'],
    ['a file below a file', rawTar(a, { name: 'a.txt/b.txt' }), '"a.txt/b.txt" is in the archive twice'],
    ['a folder in place of a file', rawTar({ name: 'b.txt/c.txt' }, { name: 'b.txt' }), '"b.txt" is in the archive twice'],
    ['nothing to learn from', rawTar({ name: 'image.png', content: 'x' }), 'the archive has no .txt or .jsonl file'],
    ['nothing at all', new Uint8Array(), 'the archive has no .txt or .jsonl file'],
    ['a text that is none', Buffer.from('once upon a time '.repeat(100)), 'entry 1 of the archive is malformed'],
    ['a wrong checksum', rawTar(a).fill(0x62, 0, 1), 'entry 1 of the archive is malformed'],
    ['a size that is no number', rawTar({ ...a, size: 'many\0' }), 'entry 1 of the archive is malformed'],
    ['a negative size', rawTar({ ...a, size: '\xff'.repeat(12) }), 'entry 1 of the archive is malformed'],
    ['a size beyond numbers', rawTar({ ...a, size: `\x80${'\xff'.repeat(11)}` }), 'entry 1 of the archive is malformed'],
    ['a size beyond its own', rawTar({ ...a, size: '77777777777\0' }), 'the archive has more than 2048 bytes'],
    [
      'attributes without end',
      rawTar({ name: 'p', type: 'x', content: '99 path=a' }, a),
      'the attributes of entry 1 are malformed',
    ],
    ['half a header', rawTar(a).subarray(0, 300), 'the archive is cut off'],
    ['half a file', rawTar({ name: 'a.txt', content: 'x'.repeat(2000) }).subarray(0, 2048), 'the archive is cut off'],
  ])('with %s is refused, and nothing of it is written', async (_, archive, message) => {
    await expect(unpacked(archive)).rejects.toMatchObject({
      code: 'WL_DATA_INVALID',
      message: expect.stringContaining(message),
    });
    expect(left()).toEqual(['place', 'place/data.tar']);
    await expect(unpacked(gzipSync(archive), 'data.tar.gz')).rejects.toMatchObject({ code: 'WL_DATA_INVALID' });
    expect(left()).toEqual(['place', 'place/data.tar', 'place/data.tar.gz']);
  });

  it('that is no gzip, is cut off, or has a bit changed, is refused', async () => {
    const right = gzipSync(rawTar({ name: 'a.txt', content: 'call me ishmael '.repeat(5000) }));
    const flipped = Buffer.from(right);
    flipped[right.length - 6]! ^= 1;
    for (const wrong of [rawTar({ name: 'a.txt' }), right.subarray(0, -20), flipped]) {
      await expect(unpacked(wrong, 'data.tar.gz')).rejects.toMatchObject({
        code: 'WL_DATA_INVALID',
        message: expect.stringMatching(/^ARCHIVE: (not gzip: |the archive is cut off)/),
      });
      expect(left()).toEqual(['place', 'place/data.tar.gz']);
    }
  });

  it('that would fill the disk with nothing is refused before it does', async () => {
    const bomb = gzipSync(rawTar({ name: 'a.txt', content: Buffer.alloc(65 * 2 ** 20) }));
    expect(bomb.length).toBeLessThan(100_000);
    await expect(unpacked(bomb, 'data.tar.gz')).rejects.toMatchObject({
      code: 'WL_DATA_INVALID',
      message: `ARCHIVE: the archive has more than ${64 * 2 ** 20} bytes`,
    });
    expect(left()).toEqual(['place', 'place/data.tar.gz']);
  });
});

describe('what was unpacked', () => {
  const archive = rawTar({ name: 'a.txt', content: 'one' }, { name: 'b/c.jsonl', content: '{}' });

  it('is whole if each file is there as it was, and no other, and is made anew where it is not', async () => {
    const damages: (() => void)[] = [
      () => writeFileSync(join(unpackedFiles(folder), 'a.txt'), 'One'),
      () => rmSync(join(unpackedFiles(folder), 'b/c.jsonl')),
      () => writeFileSync(join(unpackedFiles(folder), 'another.txt'), 'not of it'),
      () => writeFileSync(join(folder, 'SHA256SUMS'), 'no list'),
      () => rmSync(join(folder, 'SHA256SUMS')),
      () => rmSync(folder, { recursive: true }),
    ];
    for (const damage of damages) {
      expect(await unpacked(archive)).toEqual({ 'a.txt': 'one', 'b/c.jsonl': '{}' });
      expect(await isUnpacked(folder, () => {})).toBe(true);
      damage();
      expect(await isUnpacked(folder, () => {})).toBe(false);
    }
  });

  it('is whole or not there after the process was killed at any point, and the next leaves nothing else behind', async () => {
    const many = rawTar(
      ...Array.from({ length: 400 }, (_, index) => ({ name: `${index % 7}/${index}.txt`, content: `text ${index}` })),
    );
    const path = join(root, 'place/data.tar');
    for (const atBytes of [0, 1, 1000, 2500, 1e9]) {
      writeFileSync(path, many);
      const child = spawn(process.execPath, ['--input-type=module', '-e', unpacking, path, folder, String(atBytes)], {
        cwd: resolve(import.meta.dirname, '../..'),
        stdio: 'inherit',
      });
      const [, signal] = (await once(child, 'exit')) as [number | null, string | null];
      expect(signal).toBe('SIGKILL');
      expect(await isUnpacked(folder, () => {})).toBe(atBytes === 1e9);
      expect(readdirSync(join(root, 'place')).includes('unpacked')).toBe(atBytes === 1e9);
    }
    rmSync(folder, { recursive: true });
    expect(Object.keys(await unpacked(many))).toHaveLength(400);
    expect(readdirSync(join(root, 'place')).toSorted()).toEqual(['data.tar', 'unpacked']);
  });
});

/** Unpacks, and dies at that many bytes, or at the end. */
const unpacking = `
import { unpack } from '#runtime/remote/unpack.ts';
const [, archive, folder, atBytes] = process.argv;
const die = () => process.kill(process.pid, 'SIGKILL');
await unpack(archive, '.tar', folder, {
  place: 'ARCHIVE',
  only: /./,
  words: 'file',
  needs: () => Promise.resolve(),
  onBytes: (bytes) => bytes >= Number(atBytes) && die(),
});
die();
`;
