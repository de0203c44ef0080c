// `windlass logs`: what the pods of a job or service have printed, and what they print from now on.
import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { StateDir } from '#operator/local/state-dir.ts';
import { WindlassError } from '#runtime/api/errors.ts';

const pollMs = 200;

/** Writes the logs of the pod `name`, or of all pods of the job or service `name`; goes on until `signal` fires if `follow`. */
export async function printLogs(
  state: StateDir,
  name: string,
  options: { follow: boolean; signal: AbortSignal; write: (text: string) => void },
): Promise<void> {
  const read = new Map<string, number>();
  for (let first = true; ; first = false) {
    const files = await logFiles(state, name);
    if (first && files.length === 0)
      throw new WindlassError('WL_OBJECT_NOT_FOUND', `no pod of ${name} has a log in ${state.path}`);
    for (const file of files) read.set(file, await copyFrom(file, read.get(file) ?? 0, options.write));
    if (!options.follow || options.signal.aborted) return;
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}

async function logFiles(state: StateDir, name: string): Promise<string[]> {
  const root = join(state.path, 'logs');
  const files: { path: string; changed: number }[] = [];
  for (const namespace of await readdir(root).catch(() => [])) {
    for (const pod of await readdir(join(root, namespace)).catch(() => [])) {
      if (pod !== name && !pod.startsWith(`${name}-`)) continue;
      for (const file of await readdir(join(root, namespace, pod))) {
        const path = join(root, namespace, pod, file);
        files.push({ path, changed: (await stat(path)).mtimeMs });
      }
    }
  }
  return files.sort((a, b) => a.changed - b.changed).map(({ path }) => path);
}

async function copyFrom(path: string, position: number, write: (text: string) => void): Promise<number> {
  const handle = await open(path, 'r');
  try {
    const buffer = Buffer.alloc(1 << 16);
    let at = position;
    for (;;) {
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, at);
      if (bytesRead === 0) return at;
      write(buffer.toString('utf8', 0, bytesRead));
      at += bytesRead;
    }
  } finally {
    await handle.close();
  }
}
