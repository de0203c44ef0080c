// SHA256SUMS, the list of a folder on a server: lines as `sha256sum` writes them. The sha256 of the sorted lines is the digest of the folder.
import { createHash } from 'node:crypto';
import { WindlassError } from '#runtime/api/errors.ts';

/** Name of the list within its folder. */
export const checksumsName = 'SHA256SUMS';
export const largestListBytes = 16 * 2 ** 20;
const maxFiles = 100_000;

export interface ListedFile {
  /** Path within the folder, with `/`. */
  readonly name: string;
  /** sha256 in hexadecimal. */
  readonly sha256: string;
}

/** The list, sorted. */
export function formatChecksums(files: readonly ListedFile[]): string {
  return files
    .map(({ name, sha256 }) => `${sha256}  ${name}\n`)
    .sort()
    .join('');
}

/** What ModelVersion.spec.digest says of a folder with these files, in hexadecimal. */
export function digestOfList(files: readonly ListedFile[]): string {
  return createHash('sha256').update(formatChecksums(files)).digest('hex');
}

/**
 * The files of a list; the list itself does not count. Names begin with `./` where `find` made them. Throws WL_REMOTE_REFUSED for a line that is none,
 * a name that leads out of the folder, and a name that is there twice. `place`: for messages.
 */
export function parseChecksums(text: string, place: string): ListedFile[] {
  const files = new Map<string, string>();
  for (const [index, line] of text.split('\n').entries()) {
    if (line === '') continue;
    const refuse = (why: string): never => {
      throw new WindlassError('WL_REMOTE_REFUSED', `${place}, line ${index + 1}: ${why}`);
    };
    const [, sha256 = '', written = ''] =
      /^([0-9a-f]{64}) [ *](.+?)\r?$/s.exec(line) ?? refuse('must be a sha256, two spaces and a name');
    const name = written.replace(/^\.\//, '');
    if (!isInside(name)) refuse(`${JSON.stringify(name)} is no path within the folder`);
    if (name === checksumsName) continue;
    if (files.has(name)) refuse(`${name} is listed twice`);
    if (files.size === maxFiles) refuse(`more than ${maxFiles} files`);
    files.set(name, sha256);
  }
  if (files.size === 0) throw new WindlassError('WL_REMOTE_REFUSED', `${place} lists no file`);
  return [...files].map(([name, sha256]) => ({ name, sha256 }));
}

/** Whether a name with `/` leads to a place within its folder, and to none that fetching needs for itself. */
export function isInside(name: string): boolean {
  // oxlint-disable-next-line no-control-regex
  if (name.length > 1024 || /[\u0000-\u001f\\]/.test(name)) return false;
  return name
    .split('/')
    .every((part) => part !== '' && part !== '.' && part !== '..' && !/\.part(\.new|-[0-9a-f]{16})?$/.test(part));
}
