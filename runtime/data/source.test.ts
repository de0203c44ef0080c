import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readDocuments } from './documents.ts';
import { resolveData } from './source.ts';

let root: string;
let files = 0;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'wl-data-'));
});
afterAll(() => rm(root, { recursive: true }));

async function write(name: string, content: string | Uint8Array): Promise<string> {
  const path = join(root, `${files++}-${name}`);
  await writeFile(path, content);
  return path;
}

async function documents(path: string, field?: string): Promise<string[]> {
  const all: string[] = [];
  let text = '';
  for await (const part of readDocuments(await resolveData(path, { baseDir: root, field }))) {
    text += part.text;
    if (part.last) {
      all.push(text);
      text = '';
    }
  }
  return all;
}

describe('uris', () => {
  it('a plain path, a relative path and a file:// uri name the same file', async () => {
    const path = await write('a b.txt', 'text');
    const name = path.slice(root.length + 1);
    for (const uri of [path, name, `./${name}`, pathToFileURL(path).href]) {
      expect((await resolveData(uri, { baseDir: root })).files).toEqual([{ path, name, kind: 'text', bytes: 4 }]);
    }
  });

  it('sample://moby-dick is the whole book', async () => {
    const text = await documents('sample://moby-dick');
    expect(text).toHaveLength(1);
    expect(text[0]).toContain('Call me Ishmael.');
    expect(text[0]!.length).toBeGreaterThan(1_190_000);
  });

  it('an unknown sample is refused with the ones there are', async () => {
    for (const name of ['walden', 'constructor', '']) {
      await expect(resolveData(`sample://${name}`, { baseDir: root })).rejects.toMatchObject({
        code: 'WL_FILE_MISSING',
        message: expect.stringContaining('moby-dick'),
      });
    }
  });

  it.each([
    ['nowhere.txt', 'WL_FILE_MISSING', /nowhere\.txt does not exist/],
    ['s3://bucket/a.txt', 'WL_DATA_INVALID', /s3:\/\/ is not supported/],
    ['file://host/a.txt', 'WL_DATA_INVALID', /host/],
    ['/dev/null', 'WL_DATA_INVALID', /neither a file nor a folder/],
  ])('%s is refused by %s', async (uri, code, message) => {
    await expect(resolveData(uri, { baseDir: root })).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });

  it('a file of another kind and empty files are refused', async () => {
    await expect(resolveData(await write('a.pdf', 'x'), { baseDir: root })).rejects.toMatchObject({ code: 'WL_DATA_INVALID' });
    await expect(resolveData(await write('a.txt', ''), { baseDir: root })).rejects.toMatchObject({ code: 'WL_DATA_EMPTY' });
  });
});

describe('folders', () => {
  it('take .txt and .jsonl at any depth in the order of their paths, and nothing hidden, linked out or of another kind', async () => {
    const folder = join(root, 'folder');
    await mkdir(join(folder, 'b', 'c'), { recursive: true });
    await mkdir(join(folder, '.git'));
    for (const name of ['b/2.txt', 'b/c/1.jsonl', 'a.txt', 'B.txt', '.hidden.txt', '.git/x.txt', 'notes.md']) {
      await writeFile(join(folder, name), name.endsWith('jsonl') ? '{"text":"j"}' : name);
    }
    await symlink(await write('outside.txt', 'secret'), join(folder, 'link.txt'));
    await symlink(root, join(folder, 'loop'));
    await symlink(join(folder, 'nothing'), join(folder, 'dangling.txt'));
    // As in a mounted ConfigMap, whose files are links into a hidden folder.
    await symlink('.git/x.txt', join(folder, 'z.txt'));
    const source = await resolveData(folder, { baseDir: root });
    expect(source.files.map(({ name }) => name)).toEqual(['B.txt', 'a.txt', 'b/2.txt', 'b/c/1.jsonl', 'z.txt']);
    expect(await documents(folder)).toEqual(['B.txt', 'a.txt', 'b/2.txt', 'j', '.git/x.txt']);
  });

  it('without any text file are refused', async () => {
    const folder = join(root, 'empty');
    await mkdir(folder);
    await expect(resolveData(folder, { baseDir: root })).rejects.toMatchObject({
      code: 'WL_DATA_INVALID',
      message: expect.stringContaining(folder),
    });
  });
});

describe('text files', () => {
  it('of any length are read whole, wherever chunks end within a character', async () => {
    for (const text of ['é', `${'x'.repeat(16_383)}é`, '鯨'.repeat(40_000), `a${'😀'.repeat(20_000)}`, 'a\r\nb\r']) {
      expect(await documents(await write('long.txt', text))).toEqual([text]);
    }
  });

  it('lose a byte order mark at their beginning, and only there', async () => {
    expect(await documents(await write('bom.txt', '\ufeffa\ufeffb'))).toEqual(['a\ufeffb']);
  });

  it('with bytes that are not UTF-8 are refused with the offset of the first', async () => {
    const good = Buffer.from('é鯨😀a'.repeat(3000));
    for (const broken of [
      [0xff],
      [0xc3],
      [0xc3, 0x28],
      [0xe2, 0x82],
      [0xf0, 0x9f, 0x98],
      [0xed, 0xa0, 0x80],
      [0xc0, 0x80],
      [0x80],
    ]) {
      for (const at of [0, 10, 16_380, good.length]) {
        let boundary = at;
        while (boundary < good.length && (good[boundary]! & 0xc0) === 0x80) boundary++;
        const tail = broken.length > 1 && boundary === good.length ? Buffer.alloc(0) : good.subarray(boundary);
        const path = await write('broken.txt', Buffer.concat([good.subarray(0, boundary), Buffer.from(broken), tail]));
        await expect(documents(path)).rejects.toMatchObject({
          code: 'WL_DATA_INVALID',
          details: { file: path, offset: boundary },
        });
      }
    }
  });
});

describe('JSON lines', () => {
  it('give a document per record, whatever ends the lines; blank lines and empty texts give none', async () => {
    const path = await write('a.jsonl', '{"text":"one\\n1"}\r\n\n  \n{"id":2,"text":"two"}\n{"text":""}\n{"text":"three"}');
    expect(await documents(path)).toEqual(['one\n1', 'two', 'three']);
  });

  it('read the field asked for', async () => {
    expect(await documents(await write('a.jsonl', '{"text":"a","body":"b"}\n'), 'body')).toEqual(['b']);
  });

  it('any texts come back as they were written', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20_000, size: 'max' }), { maxLength: 6 }),
        async (texts) => {
          fc.pre(texts.length > 0);
          const path = await write('any.jsonl', texts.map((text) => JSON.stringify({ text })).join('\n'));
          expect(await documents(path)).toEqual(texts);
        },
      ),
      { numRuns: 30 },
    );
  });

  it.each([
    ['broken JSON', '{"text": "a"', /not JSON/],
    ['a record without the field', '{"body": 1, "id": 2}', /no field "text"; it has body, id/],
    ['a field of another type', '{"text": 5}', /"text" is not a string/],
    ['a list', '[1]', /not an object/],
    ['an inherited field', '{"__proto__": {"text": "x"}}', /no field "text"/],
  ])('%s is refused with file and line', async (_name, line, message) => {
    const path = await write('bad.jsonl', `{"text":"fine"}\n\n${line}\n{"text":"fine"}\n`);
    await expect(documents(path)).rejects.toMatchObject({
      code: 'WL_DATA_INVALID',
      details: { file: path, line: 3 },
      message: expect.stringMatching(new RegExp(`bad\\.jsonl:3: .*${message.source}`)),
    });
  });

  it('a line beyond the limit is refused before it is parsed', async () => {
    const path = await write('huge.jsonl', `{"text":"a"}\n{"text":"${'x'.repeat(17 * 1024 * 1024)}`);
    await expect(documents(path)).rejects.toMatchObject({ code: 'WL_DATA_INVALID', details: { line: 2 } });
  });

  it('any bytes end in documents or in WL_DATA_INVALID, and no other way', async () => {
    const line = Buffer.from('{"text":"a"}\n{"text":"é鯨"}\n');
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 12 }), fc.nat(line.length), async (bytes, at) => {
        const path = await write('fuzz.jsonl', Buffer.concat([line.subarray(0, at), bytes, line.subarray(at)]));
        await documents(path).catch((error: unknown) => expect(error).toMatchObject({ code: 'WL_DATA_INVALID' }));
      }),
      { numRuns: 150 },
    );
  });
});
