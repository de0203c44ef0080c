// Certificates of the operators themselves: what the credentials service and the bus show, and what an operator shows to the bus. Each process
// has keys of its own; only that of the bus lies in a Secret, since another container reads it.
import { bundleOf, validFrom } from './authority.ts';
import type { Trust } from './authority-keeper.ts';
import { userToken } from './bus-accounts.ts';
import { issue, newKey, validityOf } from './x509.ts';

export interface Identity {
  /** PEM. */
  readonly cert: string;
  readonly key: string;
  /** PEM of who is trusted. */
  readonly ca: string;
}

/** A server that answers to `dnsNames`. What stands between its certificate and an older authority comes along. */
export async function serverIdentity(
  dnsNames: readonly string[],
  trust: Trust,
  now: number,
  certificateMs: number,
): Promise<Identity> {
  const made = await newIdentity({ commonName: 'windlass server', dnsNames, usage: 'server' }, trust, now, certificateMs);
  return { ...made, cert: made.cert + (trust.authority.cross ?? '') };
}

export async function clientIdentity(trust: Trust, now: number, certificateMs: number): Promise<Identity> {
  return await newIdentity({ commonName: 'windlass operator', dnsNames: [], usage: 'client' }, trust, now, certificateMs);
}

async function newIdentity(
  { commonName, dnsNames, usage }: { commonName: string; dnsNames: readonly string[]; usage: 'server' | 'client' },
  { authority }: Trust,
  now: number,
  certificateMs: number,
): Promise<Identity> {
  const { key, publicKey } = await newKey();
  // It ends with its authority at the latest: the time until its renewal is a part of what it really has.
  const lifetimeMs = Math.min(certificateMs, validityOf(authority.current.certificate).until - now);
  const uris = usage === 'client' ? ['spiffe://windlass/operator'] : [];
  const leaf = {
    commonName,
    publicKey,
    dnsNames,
    uris,
    usages: [usage],
    ...validFrom(now, lifetimeMs),
  } as const;
  return { cert: await issue(leaf, authority.current), key, ca: bundleOf(authority) };
}

export interface BusLogin {
  readonly token: string;
  readonly seed: Uint8Array;
}

/** The operator on the bus: hears all reports, says nothing. */
export async function listenerLogin(trust: Trust, now: number, certificateMs: number): Promise<BusLogin> {
  return await login('windlass operator', { mayPublish: [], maySubscribe: ['wl.v1.>'] }, trust.bus.account, now, certificateMs);
}

/** Whoever asks the server to read its configuration again, and may do nothing else. */
export async function reloaderLogin(trust: Trust, now: number, certificateMs: number): Promise<BusLogin> {
  const rights = { mayPublish: ['$SYS.REQ.SERVER.*.RELOAD'], maySubscribe: ['_INBOX.>'] };
  return await login('windlass operator', rights, trust.bus.system, now, certificateMs);
}

async function login(
  name: string,
  rights: { mayPublish: string[]; maySubscribe: string[] },
  by: string,
  now: number,
  certificateMs: number,
): Promise<BusLogin> {
  const { nkeys } = await import('nats');
  const user = nkeys.createUser();
  const token = await userToken({ publicKey: user.getPublicKey(), name, ...rights, until: now + certificateMs }, by, now);
  return { token, seed: user.getSeed() };
}
