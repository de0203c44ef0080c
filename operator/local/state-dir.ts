// The folder that an instance keeps everything in, and where its sockets are.
import { createHash } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';

/** Unix socket paths are at most 107 bytes on Linux. */
const maxSocketPath = 107;

export const defaultStateDir = '.windlass';

export interface StateDir {
  readonly path: string;
  /** Where `status`, `stop` and others reach the running instance. */
  readonly controlSocket: string;
  /** Where pods publish progress. */
  readonly busSocket: string;
  /** Says which process holds the folder. */
  readonly pidFile: string;
}

/** Paths of a state directory; sockets of one that lies too deep are in the temporary folder, under a name that follows from its path. */
export function stateDirOf(path: string): StateDir {
  const absolute = resolve(path);
  const inside = join(absolute, 'run');
  const deep = Buffer.byteLength(join(inside, 'control.sock')) > maxSocketPath;
  const folder = deep
    ? join(tmpdir(), `windlass-${process.getuid?.() ?? 0}-${createHash('sha256').update(absolute).digest('hex').slice(0, 16)}`)
    : inside;
  return {
    path: absolute,
    controlSocket: join(folder, 'control.sock'),
    busSocket: join(folder, 'bus.sock'),
    pidFile: join(inside, 'pid'),
  };
}

/** Makes the folders of a state directory, for this user only. */
export function makeStateDir(state: StateDir): void {
  mkdirSync(state.path, { recursive: true });
  for (const file of [state.controlSocket, state.pidFile]) mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
}
