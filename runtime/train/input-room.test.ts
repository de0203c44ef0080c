// What is kept of servers for the jobs of a namespace: bounded, and never taken from a job that uses it, whoever is killed when.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { leaseTimes } from '#runtime/remote/main.ts';
import { TestServer } from '#runtime/remote/testing.ts';
import { makeRoom } from './input-room.ts';
import { InputUse, useTimes } from './input-use.ts';

const root = resolve(import.meta.dirname, '../..');
const hex = (text: string) => createHash('sha256').update(text).digest('hex');
const bytes = 1000;
const hours = 3_600_000;
const plenty = 1e12;

let shared: string;
let removed: string[];

beforeEach(() => {
  shared = join(mkdtempSync(join(tmpdir(), 'wl-room-')), '.remote');
  removed = [];
});
afterEach(() => rmSync(resolve(shared, '..'), { recursive: true }));

/** A digest with a folder of this many files and a list, as a fetch leaves them, 1000 bytes together. */
function keep(name: string, files = 1): string {
  const digest = hex(name);
  mkdirSync(join(shared, digest), { recursive: true });
  for (let index = 0; index < files; index++) writeFileSync(join(shared, digest, `${index}.txt`), 'x'.repeat(bytes / files - 1));
  writeFileSync(join(shared, `${digest}.SHA256SUMS`), 'x'.repeat(files));
  return digest;
}

/** As if its last mark was made so long ago. */
function age(digest: string, ageMs: number): void {
  const then = new Date(Date.now() - ageMs);
  for (const name of readdirSync(join(shared, 'uses'))) {
    if (name.startsWith(digest)) utimesSync(join(shared, 'uses', name), then, then);
  }
}

async function room(
  maxBytes: number,
  wanted: { digest?: string; bytes: number } = { bytes: 0 },
  freeBytes = plenty,
): Promise<void> {
  await makeRoom(
    shared,
    { digest: wanted.digest, bytes: wanted.bytes },
    {
      room: () => Promise.resolve({ maxBytes, freeBytes }),
      times: { ...useTimes, ...leaseTimes, lookMs: 5, staleMs: 300 },
      log: (_, message) => void removed.push(message),
    },
  );
}

async function used(digest: string, job = 'a1'): Promise<InputUse> {
  return await InputUse.begin(shared, job, [digest]);
}

const digestsThere = () =>
  readdirSync(shared)
    .filter((name) => /^[0-9a-f]{64}$/.test(name))
    .toSorted();

describe('what is kept of servers', () => {
  it('goes when no job uses it and room is wanted, that which was not used for longest first, with its list and marks', async () => {
    const digests = ['first', 'second', 'third'].map((name) => keep(name)) as [string, string, string];
    for (const [index, digest] of digests.entries()) {
      await (await used(digest)).release();
      age(digest, (index === 1 ? 3 : 1 + index / 10) * hours);
    }
    await room(3 * bytes, { digest: hex('wanted'), bytes });
    expect(digestsThere()).toEqual([digests[0], digests[2]].toSorted());
    await room(2 * bytes, { digest: hex('wanted'), bytes });
    expect(digestsThere()).toEqual([digests[0]]);
    expect(removed).toEqual(Array(2).fill('removed what no job uses any more'));
    expect(readdirSync(shared).filter((name) => name.startsWith(digests[1]))).toEqual([]);
    expect(readdirSync(join(shared, 'uses'))).toEqual([`${digests[0]}.done`]);
    expect(readdirSync(join(shared, 'gone'))).toEqual([]);
    expect(readdirSync(join(shared, 'locks'))).toEqual([]);
  });

  it('stays below the limit as long as the volume has room, and goes where it has none', async () => {
    const digest = keep('first');
    await room(plenty, { digest: hex('wanted'), bytes: 5 * bytes }, 5 * bytes);
    expect(digestsThere()).toEqual([digest]);
    await room(plenty, { digest: hex('wanted'), bytes: 5 * bytes }, 5 * bytes - 1);
    expect(digestsThere()).toEqual([]);
  });

  it('of which a part is there already wants room for the rest alone', async () => {
    const [wanted, other] = [keep('wanted'), keep('other')];
    await room(3 * bytes, { digest: wanted, bytes: 2 * bytes });
    expect(digestsThere()).toEqual([wanted, other].toSorted());
    await room(3 * bytes - 1, { digest: wanted, bytes: 2 * bytes });
    expect(digestsThere()).toEqual([wanted]);
  });

  it('stays for a job that runs, and for a day where the job has stopped without success', async () => {
    const digest = keep('first');
    using _use = await used(digest);
    await room(0);
    expect(digestsThere()).toEqual([digest]);
    age(digest, 23 * hours);
    await room(0);
    expect(digestsThere()).toEqual([digest]);
    age(digest, 25 * hours);
    await room(0);
    expect(digestsThere()).toEqual([]);
  });

  it('stays while any of its jobs uses it, also when another is done, or an earlier run of the same', async () => {
    const digest = keep('first');
    const [earlier, other] = [await used(digest), await used(digest, 'b2')];
    using _later = await used(digest);
    await earlier.release();
    await other.release();
    expect(readdirSync(join(shared, 'uses')).toSorted()).toEqual([`${digest}.a1`, `${digest}.done`]);
    await room(0);
    expect(digestsThere()).toEqual([digest]);
  });

  it('is put back, list and all, when a job marks it while it is moved aside, as one that took the lock of a stopped process may', async () => {
    const digest = keep('first', 3);
    const looks: number[] = [];
    const times = {
      ...useTimes,
      ...leaseTimes,
      // Asked for at each look at the marks, of which the second is the last before it is moved.
      get freshMs() {
        if (looks.push(looks.length) === 2) writeFileSync(join(shared, 'uses', `${digest}.b2`), 'of another');
        return 0;
      },
    };
    const nothing = () => Promise.resolve({ maxBytes: 0, freeBytes: plenty });
    const log = (_: object, message: string) => void removed.push(message);
    await makeRoom(shared, { digest: undefined, bytes: 0 }, { room: nothing, times, log });
    expect(looks).toHaveLength(3);
    expect(removed).toEqual([]);
    expect(readdirSync(join(shared, digest))).toHaveLength(3);
    expect(readdirSync(shared).toSorted()).toEqual([digest, `${digest}.SHA256SUMS`, 'gone', 'locks', 'uses'].toSorted());
    expect(readdirSync(join(shared, 'gone'))).toEqual([]);
  });

  it('is marked as used for as long as the job runs, however long that is', async () => {
    const digest = keep('first');
    using use = await InputUse.begin(shared, 'a1', [digest], { ...useTimes, renewMs: 5 });
    age(digest, 25 * hours);
    const markedAt = () => statSync(join(shared, 'uses', `${digest}.a1`)).mtimeMs;
    await expect.poll(markedAt, { timeout: 60_000 }).toBeGreaterThan(Date.now() - hours);
    await room(0);
    expect(digestsThere()).toEqual([digest]);
    await use.release();
    expect(readdirSync(join(shared, 'uses'))).toEqual([`${digest}.done`]);
  });

  it('that a kill left half removed goes at another time, and nothing else that lies there does', async () => {
    const digest = keep('first');
    for (const name of ['1000-left', `${Date.now() + hours}-young`]) mkdirSync(join(shared, 'gone', name), { recursive: true });
    writeFileSync(join(shared, 'gone/1000-left/text'), 'half');
    writeFileSync(join(shared, 'notes'), 'of the user');
    mkdirSync(join(shared, 'uses/now-0'), { recursive: true });
    using _refused = await used(hex('never came'));
    for (const name of [hex('never came'), 'now-0']) age(name, 25 * hours);
    await room(plenty);
    expect(digestsThere()).toEqual([digest]);
    expect(readdirSync(join(shared, 'uses'))).toEqual([]);
    expect(readdirSync(join(shared, 'gone'))).toEqual([expect.stringMatching(/-young$/)]);
    await room(0);
    expect(readdirSync(shared).toSorted()).toEqual(['gone', 'locks', 'notes', 'uses']);
  });

  it('is whole or not there after a process that was removing is killed, wherever that was', async () => {
    const files = 50;
    for (let kill = 0; kill < 6; kill++) {
      const digests = Array.from({ length: 12 }, (_, index) => keep(`${kill} ${index}`, files));
      const child = spawn(process.execPath, ['--input-type=module', '-e', removing, shared], {
        cwd: root,
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const ended = once(child, 'exit');
      try {
        await once(child.stdout, 'data');
        if (kill % 2 === 0)
          await expect.poll(() => digestsThere().length, { interval: 0, timeout: 60_000 }).toBeLessThan(12 - kill);
      } finally {
        child.kill('SIGKILL');
      }
      await ended;
      for (const digest of digestsThere()) {
        expect(digests).toContain(digest);
        expect(readdirSync(join(shared, digest))).toHaveLength(files);
        expect(readFileSync(join(shared, `${digest}.SHA256SUMS`)).length).toBe(files);
      }
      await room(0);
      expect(readdirSync(shared).filter((name) => name.length >= 64)).toEqual([]);
    }
  });

  it('is never taken from under jobs that read it, while others on the claim fetch and remove', async () => {
    await using server = await TestServer.start();
    const texts = Array.from({ length: 5 }, (_, index) => `${index} `.repeat(5000));
    for (const [index, text] of texts.entries()) server.files.set(`/${index}.txt`, Buffer.from(text));
    const argument = JSON.stringify({
      address: server.url('/').href,
      digests: texts.map(hex),
      claim: resolve(shared, '..'),
      maxBytes: 2.5 * texts[0]!.length,
    });
    const jobs = ['one', 'two', 'three'].map(async (job) => {
      const child = spawn(process.execPath, ['--input-type=module', '-e', reading, job, argument], {
        cwd: root,
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      const said: string[] = [];
      for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => said.push(chunk.toString()));
      const [code] = (await once(child, 'close')) as [number | null];
      return { code, said: said.join('') };
    });
    for (const { code, said } of await Promise.all(jobs)) {
      expect(said).toMatch(/^\d+ removed\n$/);
      expect(code).toBe(0);
    }
    // At most three are used at once, so what was removed was wanted again.
    expect(server.askedBy('GET').length).toBeGreaterThan(texts.length);
  });
});

/** Removes all there is, and tells when it begins. */
const removing = `
import { makeRoom } from '#runtime/train/input-room.ts';
console.log('begins');
await makeRoom(process.argv[1], { digest: undefined, bytes: 0 }, {
  room: () => Promise.resolve({ maxBytes: 0, freeBytes: 1e12 }),
  log: () => {},
});
setInterval(() => {}, 1000);
`;

/** A job after the other, each with data of which only some has room; reads it all the time that it uses it. */
const reading = `
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { fetchInputs } from '#runtime/train/inputs.ts';
import { withLocalInputs } from '#runtime/train/named-inputs.ts';
const [, job, argument] = process.argv;
const { address, digests, claim, maxBytes } = JSON.parse(argument);
let removed = 0;
for (let round = 0; round < 12; round++) {
  const at = (round * (job.length - 2) + job.charCodeAt(0)) % digests.length;
  const spec = { model: {}, data: { uri: address + at + '.txt', digest: 'sha256:' + digests[at] } };
  const env = { WL_JOB_DIR: claim + '/' + job };
  using use = await fetchInputs(spec, {
    env,
    tell: () => {},
    log: (fields, message) => (removed += message.startsWith('removed') ? 1 : 0),
    room: () => Promise.resolve({ maxBytes, freeBytes: 1e12 }),
    times: { renewMs: 20, freshMs: 0, keptMs: 3_600_000, staleMs: 90_000, lookMs: 5 },
  });
  for (let read = 0; read < 5; read++) {
    const bytes = await readFile(withLocalInputs(spec, env).data.uri);
    if (createHash('sha256').update(bytes).digest('hex') !== digests[at]) throw new Error('read something else');
  }
  await use.release();
}
console.log(removed + ' removed');
`;
