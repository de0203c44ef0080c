// Reads the small files of a checkpoint, whose size is checked before anything is allocated.
import type { Disk } from './disk.ts';
import { corrupt, maxManifestBytes } from './manifest.ts';

/** Throws WL_CHECKPOINT_CORRUPT for a file larger than any manifest. */
export async function readText(disk: Disk, path: string): Promise<string> {
  const file = await disk.open(path);
  try {
    const bytes = await file.size();
    if (bytes > maxManifestBytes) throw corrupt(path, 'is too large');
    const into = new Uint8Array(bytes);
    await file.read(into, 0);
    return new TextDecoder().decode(into);
  } finally {
    await file.close();
  }
}
