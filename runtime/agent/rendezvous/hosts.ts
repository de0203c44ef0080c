// Finds the address behind a name: a hosts file first, where this machine has one, then DNS. Nothing is remembered: pods move.
import { lookup } from 'node:dns/promises';
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';

/** Throws what DNS throws when nobody knows the name. */
export async function resolveHost(name: string, hostsFile: string | undefined): Promise<string> {
  if (isIP(name) !== 0) return name;
  const lines = hostsFile === undefined ? '' : await readFile(hostsFile, 'utf8').catch(() => '');
  return findHost(lines, name) ?? (await lookup(name)).address;
}

/** The address of `name` in the text of a hosts file, lines of `IP NAME...`. */
export function findHost(text: string, name: string): string | undefined {
  for (const line of text.split('\n')) {
    const [address = '', ...names] = line.replace(/#.*/, '').trim().split(/\s+/);
    if (isIP(address) !== 0 && names.includes(name)) return address;
  }
  return undefined;
}

/** `HOST:PORT` with the brackets that IPv6 needs. */
export const hostPort = (host: string, port: number): string => (isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`);
