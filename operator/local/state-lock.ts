// One instance per state folder: whoever listens on the name that follows from the folder holds it. The system lets go when the process ends.
import { createHash } from 'node:crypto';
import { readFileSync, realpathSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import type { Socket } from 'node:net';
import { WindlassError } from '#runtime/api/errors.ts';
import type { StateDir } from './state-dir.ts';

/** Names in the abstract namespace of Linux are no files: bound by one process or none, and gone with it, however it ends. */
const lockNameOf = (state: StateDir): string =>
  `\0windlass-${createHash('sha256').update(realpathSync(state.path)).digest('hex')}`;

/** Takes the lock of a state folder, which must exist; returns the way to release it. Throws WL_STATE_IN_USE. */
export async function lockState(state: StateDir): Promise<() => void> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket.unref());
    socket.on('error', () => socket.destroy());
    socket.on('close', () => sockets.delete(socket));
  });
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
  return () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
}

/** Resolves to true when no process holds the state folder any more, to false when one still does after `timeoutMs`. */
export function untilReleased(state: StateDir, timeoutMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(lockNameOf(state));
    const timer = setTimeout(() => end(false), timeoutMs);
    const end = (released: boolean) => {
      clearTimeout(timer);
      resolve(released);
      socket.destroy();
    };
    socket.on('error', () => end(true));
    socket.on('close', () => end(true));
  });
}

/** ` (process 1234)`, if the holder said so. */
export function formatProcess(state: StateDir): string {
  try {
    return ` (process ${readFileSync(state.pidFile, 'utf8').trim()})`;
  } catch {
    return '';
  }
}
