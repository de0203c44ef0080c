// What can go wrong while ranks save and load together: all learn the same, older checkpoints stay, and no rank takes another one than the rest.
import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { toWindlassError } from '#runtime/api/errors.ts';
import type { WindlassError } from '#runtime/api/errors.ts';
import { localDisk } from './disk.ts';
import type { Disk, DiskFile } from './disk.ts';
import { FolderExchange } from './folder-exchange.ts';
import { listCheckpoints, removeLeftovers } from './folders.ts';
import { loadNewest } from './load.ts';
import { saveCheckpoint } from './save.ts';
import { ArrayMemory, contentsOf, onEveryRank, saveFrom, shardsOfRank } from './testing.ts';
import type { TestTensor } from './testing.ts';
import { verifyCheckpoint } from './verify.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'wl-faults-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

const layout = { shards: 2, tensor: 2 };
const tensorsOf = (step: number): TestTensor[] => [
  { group: 'weights', name: 'embedding', shape: [30, 16], from: step },
  { group: 'weights', name: 'norm', shape: [16], from: -step },
  { group: 'first', name: 'embedding', shape: [30, 16], from: 1000 * step },
];
const save = (step: number, diskOf?: (rank: number) => Disk | undefined) => saveFrom(root, tensorsOf(step), layout, step, diskOf);

/** Every rank's error of a save that must fail. */
async function errorsOfSave(step: number, diskOf: (rank: number) => Disk | undefined): Promise<WindlassError[]> {
  return await onEveryRank(layout, async (rank, exchange) => {
    const disk = diskOf(rank);
    const contents = contentsOf([], step, shardsOfRank(tensorsOf(step), layout, rank));
    const failure = await saveCheckpoint(root, contents, { exchange, ...(disk && { disk }) }).then(
      () => new Error('it did not fail'),
      (error: unknown) => error,
    );
    return toWindlassError(failure);
  });
}

/** Loads on every rank; checks that all hold the values of the step that all say. */
async function loadEverywhere(): Promise<{ step: number | undefined; told: string[] }> {
  const told: string[] = [];
  const steps = await onEveryRank(layout, async (rank, exchange) => {
    const shards = shardsOfRank(tensorsOf(0), layout, rank, true);
    const onDamaged = (error: WindlassError) => void (rank === 0 && told.push(error.message.replaceAll(root, 'DIR')));
    const state = await loadNewest(root, 'c0ffee', shards, { exchange, onDamaged });
    const held = state ? shardsOfRank(tensorsOf(state.step), layout, rank) : shardsOfRank(tensorsOf(0), layout, rank, true);
    expect(shards).toEqual(held);
    return state?.step;
  });
  expect(new Set(steps).size, 'ranks with another step than the rest').toBe(1);
  return { step: steps[0], told };
}

const systemError = (code: string) => Object.assign(new Error(code), { code });

/** A disk with other files: `change` sees each file that is created. */
function diskWith(change: (file: DiskFile, path: string) => Partial<DiskFile>, others: Partial<Disk> = {}): Disk {
  const create = async (path: string) => {
    const file = await localDisk.create(path);
    return { ...file, ...change(file, path) };
  };
  return { ...localDisk, create, ...others };
}

describe('a save of four ranks of which one', () => {
  it('has no room tells all of them which rank, what it needs and what is free, and works once there is room', async () => {
    await save(1);
    let written = 0;
    const full = diskWith(
      (file) => ({
        write: async (bytes, position) => {
          written += bytes.length;
          if (written > 1500) throw systemError('ENOSPC');
          await file.write(bytes, position);
        },
      }),
      { freeBytes: async () => (written > 0 ? 17 : 1 << 30) },
    );
    const errors = await errorsOfSave(2, (rank) => (rank === 2 ? full : undefined));
    const message = `rank 2: no room for the checkpoint of step 2 in ${root}: 66496 bytes needed, 17 free`;
    expect(errors.map((error) => [error.code, error.message])).toEqual(Array(4).fill(['WL_DISK_FULL', message]));
    expect(await readdir(root)).toEqual(['step-00000001']);
    expect((await verifyCheckpoint(join(root, 'step-00000001'))).state.step).toBe(1);
    await save(3);
    expect((await loadEverywhere()).step).toBe(3);
  });

  it('sees at once that its part would not fit', async () => {
    const errors = await errorsOfSave(2, (rank) => (rank === 3 ? { ...localDisk, freeBytes: async () => 1000 } : undefined));
    expect(errors[0]?.message).toMatch(/^rank 3: no room for the checkpoint of step 2 in .*: \d+ bytes needed, 1000 free$/);
    expect(await readdir(root)).toEqual([]);
  });

  it.each(['EROFS', 'EIO', 'EACCES'])('gets %s tells all of them, and leaves the checkpoint before', async (code) => {
    await save(1);
    const bad = { ...localDisk, create: () => Promise.reject(systemError(code)) };
    const errors = await errorsOfSave(2, (rank) => (rank === 1 ? bad : undefined));
    expect(errors.map((error) => [error.code, error.message])).toEqual(Array(4).fill(['WL_IO', `rank 1: ${code}`]));
    expect((await loadEverywhere()).step).toBe(1);
  });

  it('can not make its bytes durable fails on all of them', async () => {
    const bad = diskWith(() => ({ sync: () => Promise.reject(systemError('EIO')) }));
    const errors = await errorsOfSave(2, (rank) => (rank === 3 ? bad : undefined));
    expect(errors.map(({ message }) => message)).toEqual(Array(4).fill('rank 3: EIO'));
    expect(await readdir(root)).toEqual([]);
  });

  it('holds NaN fails on all of them, and says which tensor', async () => {
    const failures = await onEveryRank(layout, async (rank, exchange) => {
      const shards = shardsOfRank(tensorsOf(2), layout, rank);
      if (rank === 1) (shards[2]!.ranges[0]!.tensor as ArrayMemory).values[5] = NaN;
      return await saveCheckpoint(root, contentsOf([], 2, shards), { exchange }).catch(toWindlassError);
    });
    const message = 'rank 1: first/embedding holds NaN or infinite values; it is not saved';
    expect(failures).toEqual(Array(4).fill(expect.objectContaining({ code: 'WL_LOSS_NOT_FINITE', message })));
    expect(await readdir(root)).toEqual([]);
  });

  it('is slow holds up nobody but the save', async () => {
    const [gate, copied] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const slow = diskWith((file) => ({
      write: async (bytes, position) => {
        await gate.promise;
        await file.write(bytes, position);
      },
    }));
    const saving = onEveryRank(layout, (rank, exchange) => {
      const shards = shardsOfRank(tensorsOf(2), layout, rank);
      const onCopied = () => {
        // The next step.
        queueMicrotask(() => {
          for (const { ranges } of shards) for (const { tensor } of ranges) (tensor as ArrayMemory).values.fill(NaN);
          if (rank === 0) copied.resolve();
        });
      };
      return saveCheckpoint(root, contentsOf([], 2, shards), { exchange, onCopied, ...(rank === 0 && { disk: slow }) });
    });
    await copied.promise;
    expect(await listCheckpoints(root)).toEqual([]);
    gate.resolve();
    await saving;
    expect((await loadEverywhere()).step).toBe(2);
  });
});

describe('parts of a save that do not belong together are refused by the name of their file', () => {
  const partOf = (rank: number) => new RegExp(`part-0000${rank}\\.json`);
  /** The disk of rank 0, on which `text` of a part is another one. */
  const changedPart = (rank: number, text: (of: string) => string): Disk => ({
    ...localDisk,
    open: async (path) => {
      if (partOf(rank).test(path)) await writeFile(path, text(await readFile(path, 'utf8')));
      return await localDisk.open(path);
    },
  });
  const expectRefusal = async (disk: Disk, message: RegExp) => {
    await save(1);
    const errors = await errorsOfSave(2, (rank) => (rank === 0 ? disk : undefined));
    for (const error of errors)
      expect(error).toMatchObject({ code: 'WL_CHECKPOINT_CORRUPT', message: expect.stringMatching(message) });
    expect(await readdir(root)).toEqual(['step-00000001']);
  };

  it('missing', async () => {
    const open = (path: string) => (partOf(2).test(path) ? Promise.reject(systemError('ENOENT')) : localDisk.open(path));
    await expectRefusal({ ...localDisk, open }, /^rank 0: .*part-00002\.json is missing$/);
  });

  it('with a flipped bit', async () => {
    await expectRefusal(
      changedPart(1, (text) => text.replace('"offsets"', '"offsetS"')),
      /^rank 0: .*part-00001\.json does not match its own checksum$/,
    );
  });

  it('truncated', async () => {
    await expectRefusal(
      changedPart(3, (text) => text.slice(0, 100)),
      /^rank 0: .*part-00003\.json does not match its own checksum$/,
    );
  });

  it('of another save', async () => {
    // Whole and sealed, but not what rank 3 announced.
    let other = '';
    await saveFrom(join(root, '../other'), tensorsOf(9), layout, 9, (rank) =>
      rank === 0
        ? {
            ...localDisk,
            open: async (path) => ((other = partOf(3).test(path) ? await readFile(path, 'utf8') : other), localDisk.open(path)),
          }
        : undefined,
    );
    await rm(join(root, '../other'), { recursive: true });
    await expectRefusal(
      changedPart(3, () => other),
      /^rank 0: .*part-00003\.json is not what rank 3 wrote$/,
    );
  });
});

it('ranks that save different steps are told so', async () => {
  const failures = await onEveryRank(layout, (rank, exchange) => {
    const step = rank === 3 ? 5 : 4;
    return saveCheckpoint(root, contentsOf([], step, shardsOfRank(tensorsOf(4), layout, rank)), { exchange }).catch(
      toWindlassError,
    );
  });
  for (const failure of failures) expect(failure).toMatchObject({ code: 'WL_INTERNAL' });
  expect(await readdir(root)).toEqual([]);
});

it('ranks that think the world is of another size are refused', async () => {
  // The shards of a world of 8: half of each tensor is missing.
  const wrong = { ...layout, shards: 4 };
  const failures = await onEveryRank(layout, (rank, exchange) =>
    saveCheckpoint(root, contentsOf([], 4, shardsOfRank(tensorsOf(4), wrong, rank)), { exchange }).catch(toWindlassError),
  );
  const message = 'rank 0: the ranks did not write weights/embedding once: 240 of 480 elements are there';
  expect(failures).toEqual(Array(4).fill(expect.objectContaining({ message })));
  // Those of a world of 2: there is only one of each, and everybody claims to be it.
  const doubled = await onEveryRank(layout, (rank, exchange) =>
    saveCheckpoint(root, contentsOf([], 4, shardsOfRank(tensorsOf(4), { tensor: 2 }, rank % 2)), { exchange }).catch(
      toWindlassError,
    ),
  );
  expect(doubled[0]).toMatchObject({
    message: expect.stringMatching(/weights\/embedding once: those at \[0, 0\] are among them twice$/),
  });
  expect(await readdir(root)).toEqual([]);
});

describe('a checkpoint that was damaged after it was saved is set aside by all ranks, by the name of the file', () => {
  const chunkFile = (rank: number) => `rank-0000${rank}-00000.safetensors`;

  it('a bit in what only one rank reads', async () => {
    await save(1);
    const path = await save(2);
    const file = join(path, chunkFile(3));
    const bytes = await readFile(file);
    bytes[bytes.length - 3]! ^= 16;
    await writeFile(file, bytes);
    const { step, told } = await loadEverywhere();
    expect(step).toBe(1);
    expect(told).toEqual([
      expect.stringMatching(
        /^rank \d: DIR\/step-00000002\/rank-00003-00000\.safetensors is damaged: bytes \d+ to \d+ differ from what was saved; set aside as DIR\/damaged-step-00000002$/,
      ),
    ]);
  });

  it('every bit of a sample, in each kind of file', async () => {
    await save(1);
    const path = await save(2);
    for (const name of await readdir(path)) {
      const file = join(path, name);
      const good = await readFile(file);
      for (let bit = 5; bit < good.length * 8; bit += Math.ceil((good.length * 8) / 23)) {
        const bad = Buffer.from(good);
        bad[bit >> 3]! ^= 1 << (bit & 7);
        await writeFile(file, bad);
        const { step, told } = await loadEverywhere();
        expect([step, told.length], `bit ${bit} of ${name}`).toEqual([1, 1]);
        expect(told[0]).toContain(name);
        await rm(join(root, 'step-00000002'), { recursive: true, force: true });
        await localDisk.rename(join(root, 'damaged-step-00000002'), path);
      }
      await writeFile(file, good);
    }
    expect((await loadEverywhere()).step).toBe(2);
  });

  const damages: Record<string, (path: string, older: string) => Promise<unknown>> = {
    'files of two ranks swapped': async (path) => {
      await localDisk.rename(join(path, chunkFile(1)), join(path, 'spare'));
      await localDisk.rename(join(path, chunkFile(2)), join(path, chunkFile(1)));
      await localDisk.rename(join(path, 'spare'), join(path, chunkFile(2)));
    },
    'a file of the checkpoint before in place of its own': async (path, older) =>
      writeFile(join(path, chunkFile(1)), await readFile(join(older, chunkFile(1)))),
    'a truncated file': (path) => truncate(join(path, chunkFile(1)), 300),
    'a file with more at its end': async (path) =>
      writeFile(join(path, chunkFile(1)), Buffer.concat([await readFile(join(path, chunkFile(1))), Buffer.alloc(4)])),
    'a missing file': (path) => rm(join(path, chunkFile(1))),
    'a missing manifest': (path) => rm(join(path, 'manifest.json')),
    'the manifest of the checkpoint before': async (path, older) =>
      writeFile(join(path, 'manifest.json'), await readFile(join(older, 'manifest.json'))),
  };
  it.each(Object.entries(damages))('%s', async (_, damage) => {
    const older = await save(1);
    const path = await save(2);
    await damage(path, older);
    const { step, told } = await loadEverywhere();
    expect(step).toBe(1);
    expect(told).toEqual([expect.stringMatching(/step-00000002\/(rank-0000[12]-00000\.safetensors|manifest\.json) is /)]);
    expect((await readdir(root)).sort()).toEqual(['damaged-step-00000002', 'step-00000001']);
  });

  it('all of them: training begins anew with all memory as it was', async () => {
    for (const step of [1, 2]) await rm(join(await save(step), chunkFile(0)));
    expect(await loadEverywhere()).toEqual({ step: undefined, told: [expect.any(String), expect.any(String)] });
  });
});

it('a checkpoint that one rank can not read for the moment is an error on all ranks, and stays where it is', async () => {
  await save(1);
  const failures = await onEveryRank(layout, async (rank, exchange) => {
    const disk = rank === 2 ? { ...localDisk, open: () => Promise.reject(systemError('EIO')) } : localDisk;
    const onDamaged = () => expect.unreachable();
    const shards = shardsOfRank(tensorsOf(0), layout, rank, true);
    return await loadNewest(root, 'c0ffee', shards, { exchange, disk, onDamaged }).catch(toWindlassError);
  });
  expect(failures).toEqual(Array(4).fill(expect.objectContaining({ code: 'WL_IO', message: 'rank 2: EIO' })));
  expect((await loadEverywhere()).step).toBe(1);
});

it('a checkpoint of another job is refused by all ranks', async () => {
  await save(1);
  const failures = await onEveryRank(layout, (rank, exchange) =>
    loadNewest(root, 'other', shardsOfRank(tensorsOf(0), layout, rank, true), { exchange, onDamaged: () => {} }).catch(
      toWindlassError,
    ),
  );
  expect(failures).toEqual(Array(4).fill(expect.objectContaining({ code: 'WL_CHECKPOINT_MISMATCH' })));
  expect(await readdir(root)).toEqual(['step-00000001']);
});

it('a rank that is lost during a save is named through the folder too, and the next start removes what it left', async () => {
  await save(1);
  const talk = (rank: number) => new FolderExchange({ folder: join(root, 'talk'), rank, size: 4, deadlineMs: 300 });
  const failures = await Promise.all(
    [0, 1, 3].map((rank) =>
      saveCheckpoint(root, contentsOf([], 2, shardsOfRank(tensorsOf(2), layout, rank)), { exchange: talk(rank) }).catch(
        toWindlassError,
      ),
    ),
  );
  for (const failure of failures) {
    expect(failure).toMatchObject({ code: 'WL_IO', message: expect.stringMatching(/^rank 2 did not answer within 0\.3 s/) });
  }
  await removeLeftovers(localDisk, root);
  expect((await readdir(root)).sort()).toEqual(['step-00000001', 'talk']);
});
