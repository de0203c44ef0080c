// What can go wrong while ranks save together: all learn the same, and the checkpoints before stay.
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { toWindlassError } from '#runtime/api/errors.ts';
import type { WindlassError } from '#runtime/api/errors.ts';
import { localDisk } from './disk.ts';
import type { Disk, DiskFile } from './disk.ts';
import { FolderExchange } from './folder-exchange.ts';
import { listCheckpoints, removeLeftovers } from './folders.ts';
import { saveCheckpoint } from './save.ts';
import { contentsOf, onEveryRank, saveFrom, shardsOfRank } from './testing.ts';
import type { ArrayMemory, TestTensor } from './testing.ts';
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

/** The step of the newest checkpoint, every byte of which must be good. */
async function savedStep(): Promise<number | undefined> {
  const [newest] = await listCheckpoints(root);
  return newest && (await verifyCheckpoint(newest.path)).state.step;
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
    expect(errors.map(({ code }) => code)).toEqual(Array(4).fill('WL_DISK_FULL'));
    expect(errors.map((error) => error.message)).toEqual(Array(4).fill(message));
    expect(await readdir(root)).toEqual(['step-00000001']);
    expect((await verifyCheckpoint(join(root, 'step-00000001'))).state.step).toBe(1);
    await save(3);
    expect(await savedStep()).toBe(3);
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
    expect(errors.map((error) => `${error.code} ${error.message}`)).toEqual(Array(4).fill(`WL_IO rank 1: ${code}`));
    expect(await savedStep()).toBe(1);
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
    expect(await savedStep()).toBe(2);
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

it('a rank that is lost during a save is named through the folder too, and the next start removes what it left', async () => {
  await save(1);
  const talk = (rank: number) => new FolderExchange({ folder: join(root, 'talk'), rank, size: 4, deadlineMs: 5_000 });
  const failures = await Promise.all(
    [0, 1, 3].map((rank) =>
      saveCheckpoint(root, contentsOf([], 2, shardsOfRank(tensorsOf(2), layout, rank)), { exchange: talk(rank) }).catch(
        toWindlassError,
      ),
    ),
  );
  for (const failure of failures) {
    expect(failure).toMatchObject({
      code: 'WL_RANK_LOST',
      message: expect.stringMatching(/^rank 2 did not answer within 5 s/),
    });
  }
  await removeLeftovers(localDisk, root);
  expect((await readdir(root)).sort()).toEqual(['step-00000001', 'talk']);
});
