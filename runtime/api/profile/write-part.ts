// Leaves a process's part of a profile in the folder that all processes of the run share.
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { partSuffix } from './part.ts';
import type { ProfilePart } from './part.ts';

/** The file appears whole, and replaces what an earlier process of the same pod left. Returns its path. */
export async function writePart(folder: string, pod: string, part: ProfilePart): Promise<string> {
  const path = join(folder, `${pod}${partSuffix}`);
  const temporary = `${path}.${process.pid}.tmp`;
  await writeFile(temporary, JSON.stringify(part));
  await rename(temporary, path);
  return path;
}
