// `windlass logs`: what the pods of a job or service have printed, and what they print from now on.
import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { StateDir } from '#operator/local/state-dir.ts';
import { WindlassError } from '#runtime/api/errors.ts';

const pollMs = 200;

/**
 * Writes the logs of the pod `name`, or of all pods of the job or service `name`, each line then with the name of its pod; goes on until `signal`
 * fires if `follow`.
 */
export async function printLogs(
  state: StateDir,
  name: string,
  options: { follow: boolean; signal: AbortSignal; write: (text: string) => void },
): Promise<void> {
  /** Bytes read of each file; by inode, because a full log goes on under another name. */
  const read = new Map<number, number>();
  for (let first = true; ; first = false) {
    const files = await logFiles(state, name);
    if (first && files.length === 0)
      throw new WindlassError('WL_OBJECT_NOT_FOUND', `no pod of ${name} has a log in ${state.path}`);
    const several = new Set(files.map(({ pod }) => pod)).size > 1;
    for (const { path, inode, pod } of files) {
      const write = (lines: string) => options.write(several ? lines.replaceAll(/^(?!$)/gm, `${pod}: `) : lines);
      read.set(inode, await copyFrom(path, read.get(inode) ?? 0, write, options.follow));
    }
    if (!options.follow || options.signal.aborted) return;
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
