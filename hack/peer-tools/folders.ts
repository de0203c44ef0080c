// Where peers are set up: outside of the checkout, a folder for each version.
import { homedir } from 'node:os';
import { join } from 'node:path';

export function peersFolder(): string {
  return join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'windlass/peers');
}

/** `torch`, `2.15.0`. */
export function folderOf(peer: string, version: string): string {
  return join(peersFolder(), peer, version);
}
