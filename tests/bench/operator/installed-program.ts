// The program as an image has it: the operator as one file, everything else as sources.
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { programLayer } from '../../../hack/oci-image/program.ts';

const root = resolve(import.meta.dirname, '../../..');

/** Puts it into a folder, with the packages of this checkout; the path of what Node runs. */
export async function installProgram(folder: string): Promise<string> {
  for (const entry of programLayer(root)) {
    if (entry.type !== 'file') continue;
    const path = join(folder, entry.path);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, entry.data);
  }
  await symlink(join(root, 'node_modules'), join(folder, 'app/node_modules'));
  return join(folder, 'app/bin/windlass.ts');
}
