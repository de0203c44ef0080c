// Keeps the in-memory API on disk: one file, replaced atomically, the one before kept beside it.
import { createHash } from 'node:crypto';
import { link, mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from './clock.ts';
import { MemoryKube } from './memory-kube.ts';
import type { MemoryKubeOptions, Snapshot } from './memory-kube.ts';

/** The stored objects can't be used. Nothing on disk was changed. */
export class SnapshotError extends Error {
  readonly path: string;

  constructor(path: string, message: string, cause?: unknown) {
    super(`${path}: ${message}`, cause === undefined ? undefined : { cause });
    this.name = 'SnapshotError';
    this.path = path;
  }
}

export interface PersistedKube {
  kube: MemoryKube;
  /** Resolves when everything written so far is on disk. Throws what writing threw. */
  flush(): Promise<void>;
  /** Flushes and stops writing. */
  close(): Promise<void>;
}

const fileName = 'objects.json';
const previousName = 'objects.previous.json';
/** Changes within this time are written together. */
const writeDelayMs = 50;

/**
 * Opens the API whose objects lie in `folder`, which is created if missing. Throws SnapshotError if the file is damaged: its message names the
 * file of the state before, which can be put in its place.
 */
export async function openPersistedKube(
  folder: string,
  options: Omit<MemoryKubeOptions, 'snapshot'> = {},
  onError: (error: unknown) => void = () => {},
): Promise<PersistedKube> {
  await mkdir(folder, { recursive: true });
  const snapshot = await readSnapshot(folder);
  const kube = new MemoryKube({ ...options, ...(snapshot ? { snapshot } : {}) });
  const clock = options.clock ?? systemClock;
  let dirty = false;
  let cancel: (() => void) | undefined;
  let writing: Promise<void> = Promise.resolve();

  const writeIfDirty = async (): Promise<void> => {
    if (!dirty) return;
    dirty = false;
    try {
      await writeSnapshot(folder, kube.snapshot());
    } catch (error) {
      dirty = true;
      throw error;
    }
  };
  const write = (): Promise<void> => {
    cancel?.();
    cancel = undefined;
    // A write that failed was reported; the next one tries the whole state again.
    writing = writing.then(writeIfDirty, writeIfDirty);
    return writing;
  };
  const stop = kube.onChange(() => {
    dirty = true;
    cancel ??= clock.after(writeDelayMs, () => void write().catch(onError));
  });
  return {
    kube,
    flush: write,
    async close() {
      stop();
      await write();
    },
  };
}

async function readSnapshot(folder: string): Promise<Snapshot | undefined> {
  const path = join(folder, fileName);
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw new SnapshotError(path, 'the stored objects could not be read', error);
  });
  if (text === undefined) return undefined;
  const [head, body] = splitLine(text);
  if (head !== header(body)) {
    const way = `the state before it is ${join(folder, previousName)}: move it here, or use another state folder`;
    throw new SnapshotError(path, `the stored objects do not match their checksum; ${way}`);
  }
  return JSON.parse(body) as Snapshot;
}

async function writeSnapshot(folder: string, snapshot: Snapshot): Promise<void> {
  const path = join(folder, fileName);
  const temporary = `${path}.new`;
  const body = JSON.stringify(snapshot);
  const file = await open(temporary, 'w', 0o600);
  try {
    await file.writeFile(`${header(body)}\n${body}`);
    await file.sync();
  } finally {
    await file.close();
  }
  const previous = join(folder, previousName);
  await rm(previous, { force: true });
  await link(path, previous).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
  });
  await rename(temporary, path);
  const directory = await open(folder, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** First line of the file: format and checksum of the rest. */
function header(body: string): string {
  return `windlass-objects-1 sha256:${createHash('sha256').update(body).digest('hex')}`;
}

function splitLine(text: string): [string, string] {
  const end = text.indexOf('\n');
  return end < 0 ? [text, ''] : [text.slice(0, end), text.slice(end + 1)];
}
