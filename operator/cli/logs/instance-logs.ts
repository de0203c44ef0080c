// `windlass logs`: what the pods of a job or service have printed, and what they print from now on.
import { open, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { StateDir } from '#operator/local/state-dir.ts';
import { WindlassError } from '#runtime/api/errors.ts';

const pollMs = 200;
const overEveryRounds = 5;

export interface InstanceLogsOptions {
  readonly follow: boolean;
  readonly rank?: number | undefined;
  /** Newest lines of each pod only. */
  readonly tail?: number | undefined;
  readonly signal: AbortSignal;
  readonly write: (text: string) => void;
  /** Whether nothing more will come: asked now and then while it is followed. */
  readonly isOver?: () => Promise<boolean>;
}

/**
 * Writes the logs of the pod `name`, or of all pods of the job or service `name`, each line then with the name of its pod; goes on until `signal`
 * fires, or it is over, if `follow`.
 */
export async function printLogs(state: StateDir, name: string, options: InstanceLogsOptions): Promise<void> {
  /** Bytes read of each file; by inode, because a full log goes on under another name. */
  const read = new Map<number, number>();
  let isOver = false;
  for (let round = 0; ; round++) {
    const { rank, tail } = options;
    const ofRank = ({ pod }: LogFile) => rank === undefined || pod.endsWith(`-worker-${rank}`);
    const files = (await logFiles(state, name)).filter(ofRank);
    const first = round === 0;
    if (first && files.length === 0)
      throw new WindlassError('WL_OBJECT_NOT_FOUND', `no pod of ${name} has a log in ${state.path}`);
    if (first && tail !== undefined) for (const { path, inode } of files) read.set(inode, await startOfTail(path, tail));
    const several = new Set(files.map(({ pod }) => pod)).size > 1;
    for (const { path, inode, pod } of files) {
      const write = (lines: string) => options.write(several ? lines.replaceAll(/^(?!$)/gm, `${pod}: `) : lines);
      read.set(inode, await copyFrom(path, read.get(inode) ?? 0, write, options.follow));
    }
    if (!options.follow || options.signal.aborted || isOver) return;
    // One more round after the end takes along what was written meanwhile.
    if (round % overEveryRounds === 0) isOver = (await options.isOver?.()) ?? false;
    await sleep(pollMs, undefined, { signal: options.signal }).catch(() => {});
  }
}

interface LogFile {
  readonly path: string;
  readonly pod: string;
  readonly inode: number;
  readonly changed: number;
}

/** Oldest first. */
async function logFiles(state: StateDir, name: string): Promise<LogFile[]> {
  const root = join(state.path, 'logs');
  const files: LogFile[] = [];
  for (const namespace of await readdir(root).catch(() => [])) {
    for (const pod of await readdir(join(root, namespace)).catch(() => [])) {
      if (pod !== name && !pod.startsWith(`${name}-`)) continue;
      for (const file of await readdir(join(root, namespace, pod))) {
        const path = join(root, namespace, pod, file);
        const { ino, mtimeMs } = await stat(path);
        files.push({ path, pod, inode: ino, changed: mtimeMs });
      }
    }
  }
  return files.sort((a, b) => a.changed - b.changed);
}

/** Where the last lines of a file begin. */
async function startOfTail(path: string, lines: number): Promise<number> {
  const bytes = await readFile(path);
  let at = bytes.length;
  for (let left = bytes.at(-1) === 10 ? lines + 1 : lines; left > 0 && at > 0; left--) {
    at = bytes.lastIndexOf(10, at - 1);
    if (at < 0) return 0;
  }
  return lines === 0 ? bytes.length : at === 0 ? 0 : at + 1;
}

/** Writes what stands behind `position`, in whole lines. A last line without an end is written only if no more is to come. */
async function copyFrom(path: string, position: number, write: (lines: string) => void, follow: boolean): Promise<number> {
  const handle = await open(path, 'r');
  try {
    const buffer = Buffer.alloc(1 << 16);
    let pending = Buffer.alloc(0);
    for (let at = position; ;) {
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, at);
      at += bytesRead;
      pending = Buffer.concat([pending, buffer.subarray(0, bytesRead)]);
      const end = bytesRead === 0 && !follow ? pending.length : pending.lastIndexOf('\n') + 1;
      if (end > 0) write(pending.toString('utf8', 0, end));
      pending = pending.subarray(end);
      if (bytesRead === 0) return at - pending.length;
    }
  } finally {
    await handle.close();
  }
}
