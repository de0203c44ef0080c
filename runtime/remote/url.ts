// Addresses on http(s) servers: how they are told from paths, put together, and shown without what may be secret.
import { WindlassError } from '#runtime/api/errors.ts';

/** Whether a uri of a manifest is on a server. */
export function isRemote(uri: string): boolean {
  return /^https?:\/\//.test(uri);
}

/** The address that a manifest gives. Throws WL_MANIFEST_INVALID. */
export function remoteUrl(uri: string): URL {
  if (URL.canParse(uri)) return new URL(uri);
  throw new WindlassError('WL_MANIFEST_INVALID', `${uri.replace(/\?.*$/, '?…')} is no address`);
}

/** For messages: a query may hold a signature, which gives access to whoever reads it. */
export function shown({ origin, pathname, search }: URL): string {
  return `${origin}${pathname}${search === '' ? '' : '?…'}`;
}

/** The address of a file below a folder; a query stays, as a signature for the whole folder has it. `name`: path with `/`. */
export function inFolder(folder: URL, name: string): URL {
  const url = new URL(folder);
  const path = name.split('/').map(encodeURIComponent).join('/');
  url.pathname = `${url.pathname.replace(/\/*$/, '')}/${path}`;
  return url;
}
