// Paths of a manifest: `file:///PATH` or a plain path.
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Absolute path of a uri that names something on this machine or in a mounted volume. */
export function localPath(uri: string): string {
  return uri.startsWith('file://') ? fileURLToPath(uri) : resolve(uri);
}
