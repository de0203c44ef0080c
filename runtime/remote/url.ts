// Addresses on http(s) servers: how they are told from paths, put together, and shown without what may be secret.

/** Whether a uri of a manifest is on a server. */
export function isRemote(uri: string): boolean {
  return /^https?:\/\//.test(uri);
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
