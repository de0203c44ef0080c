// What proves to a server who asks: the keys of a Secret as files of a folder, read anew for each request, so that a changed Secret counts at once.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { WindlassError } from '#runtime/api/errors.ts';

/** Keys of the Secret, in the words of Flux. Pods see these and no others of it. */
type SecretKey = 'bearerToken' | 'username' | 'password' | 'ca.crt';

/** The Authorization header; undefined where the Secret holds an authority only. Throws WL_SECRET_INVALID. */
export async function authorization(folder: string): Promise<string | undefined> {
  const [token, username, password, authority] = await Promise.all([
    read(folder, 'bearerToken'),
    read(folder, 'username'),
    read(folder, 'password'),
    read(folder, 'ca.crt'),
  ]);
  if (token !== undefined) return `Bearer ${token}`;
  if (username !== undefined && password !== undefined) {
    return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
  }
  if (username === undefined && password === undefined && authority !== undefined) return undefined;
  throw new WindlassError(
    'WL_SECRET_INVALID',
    'the Secret of secretRef does not exist, or holds neither bearerToken, nor username and password, nor ca.crt',
  );
}

/** PEM of authorities that vouch for the server besides the usual ones. */
export async function authorities(folder: string): Promise<string | undefined> {
  return await read(folder, 'ca.crt');
}

async function read(folder: string, key: SecretKey): Promise<string | undefined> {
  try {
    const text = (await readFile(join(folder, key), 'utf8')).trim();
    return text === '' ? undefined : text;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
