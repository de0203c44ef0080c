// Paths of a manifest: `file:///PATH` or a plain path, and errors about what they lead to.
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { toWindlassError, WindlassError } from '#runtime/api/errors.ts';

/** Absolute path of a uri that names something on this machine or in a mounted volume. */
export function localPath(uri: string): string {
  return uri.startsWith('file://') ? fileURLToPath(uri) : resolve(uri);
}

/** The error with the field of the spec that led to it in front. */
export function aboutField(field: string, thrown: unknown): WindlassError {
  const error = toWindlassError(thrown);
  const { code, path } = (error.cause ?? {}) as { code?: unknown; path?: unknown };
  const what = code === 'ENOENT' && typeof path === 'string' ? `${path} does not exist` : error.message;
  return new WindlassError(error.code, `${field}: ${what}`, { cause: error, details: error.details });
}
