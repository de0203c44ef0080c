// One instance per state folder: whoever listens on the name that follows from the folder holds it. The system lets go when the process ends.
import { createHash } from 'node:crypto';
import { readFileSync, realpathSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { WindlassError } from '#runtime/api/errors.ts';
import { identify, isRunning } from './process-identity.ts';
import type { ProcessIdentity } from './process-identity.ts';
import type { StateDir } from './state-dir.ts';

const pollMs = 10;

/** Takes the lock of a state folder, which must exist; returns the way to release it. Throws WL_STATE_IN_USE. */
export async function lockState(state: StateDir): Promise<() => void> {
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      if (cause.code !== 'EADDRINUSE') return reject(cause);
      const who = `another windlass${formatProcess(state)} runs on the state folder ${state.path}`;
      reject(new WindlassError('WL_STATE_IN_USE', who, { cause }));
    });
    server.listen(lockNameOf(state), resolve);
  });
  server.unref();
  await writeFile(state.pidFile, `${process.pid}\n`);
  return () => void server.close();
}

/** Names in the abstract namespace of Linux are no files: bound by one process or none, and gone with it, however it ends. */
function lockNameOf(state: StateDir): string {
  return `\0windlass-${createHash('sha256').update(realpathSync(state.path)).digest('hex')}`;
}

/** The process that holds the state folder, as far as the folder says. */
export async function findHolder(state: StateDir): Promise<ProcessIdentity | undefined> {
  const pid = readPid(state);
  return pid === undefined ? undefined : await identify(pid);
}

/** Resolves to whether the process has ended within `timeoutMs`. */
export async function untilEnded(holder: ProcessIdentity, timeoutMs: number): Promise<boolean> {
  for (const deadline = Date.now() + timeoutMs; await isRunning(holder);) {
    if (Date.now() > deadline) return false;
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
  return true;
}

/** ` (process 1234)`, if the holder said so. */
export function formatProcess(state: StateDir): string {
  const pid = readPid(state);
  return pid === undefined ? '' : ` (process ${pid})`;
}

function readPid(state: StateDir): number | undefined {
  try {
    return Number(readFileSync(state.pidFile, 'utf8')) || undefined;
  } catch {
    return undefined;
  }
}
