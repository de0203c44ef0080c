// Who may say what on the bus: the keys of its operator and accounts, and the tokens that NATS takes from a user (decentralised JWTs: the server
// knows the keys alone, and no list of users).
import { createHash } from 'node:crypto';
import { z } from 'zod';

/** Seeds of nkeys. */
export const BusKeys = z.object({
  /** Signs accounts. */
  operator: z.string(),
  /** Signs the users of `wl.v1.>`. */
  account: z.string(),
  /** Signs who may ask the server itself for something. */
  system: z.string(),
});
export type BusKeys = z.output<typeof BusKeys>;

export interface BusUser {
  /** Public nkey of the user, who alone has its seed. */
  readonly publicKey: string;
  /** How the server names it. */
  readonly name: string;
  readonly mayPublish: readonly string[];
  readonly maySubscribe: readonly string[];
  /** Milliseconds since 1970. The server ends connections that outlive it. */
  readonly until: number;
}

/** As large as a report may be (`runtime/api/nats-bus.ts`). */
const maxPayloadBytes = 512 << 10;
const unlimited = -1;

export async function newBusKeys(): Promise<BusKeys> {
  const { nkeys } = await import('nats');
  const seed = (pair: { getSeed(): Uint8Array }) => Buffer.from(pair.getSeed()).toString();
  return {
    operator: seed(nkeys.createOperator()),
    account: seed(nkeys.createAccount()),
    system: seed(nkeys.createAccount()),
  };
}

/** What a user shows to the server, beside a signature with its own key. `by`: seed of the account. */
export async function userToken(user: BusUser, by: string, now: number): Promise<string> {
  const rights = (subjects: readonly string[]) => (subjects.length > 0 ? { allow: subjects } : { deny: ['>'] });
  const claims = {
    pub: rights(user.mayPublish),
    sub: rights(user.maySubscribe),
    subs: unlimited,
    data: unlimited,
    payload: maxPayloadBytes,
    type: 'user',
    version: 2,
  };
  return await tokenOf({ sub: user.publicKey, name: user.name, exp: Math.floor(user.until / 1000), nats: claims }, by, now);
}

/**
 * The part of a configuration of nats-server that says whom it serves. The same keys give the same text: a server does not reload another token
 * of its operator.
 */
export async function accountsConfig(keys: BusKeys): Promise<string> {
  const { nkeys } = await import('nats');
  const publicKey = (seed: string) => nkeys.fromSeed(Buffer.from(seed)).getPublicKey();
  const [operator, account, system] = [keys.operator, keys.account, keys.system].map(publicKey) as [string, string, string];
  const none = { subs: unlimited, data: unlimited, payload: unlimited, imports: unlimited, exports: unlimited };
  const limits = { ...none, wildcards: true, conn: unlimited, leaf: unlimited };
  const accountToken = (sub: string, name: string) =>
    tokenOf(
      { sub, name, nats: { limits, default_permissions: { pub: {}, sub: {} }, type: 'account', version: 2 } },
      keys.operator,
      0,
    );
  const operatorClaims = { sub: operator, name: 'windlass', nats: { system_account: system, type: 'operator', version: 2 } };
  const lines = [
    `operator: ${await tokenOf(operatorClaims, keys.operator, 0)}`,
    `system_account: ${system}`,
    'resolver: MEMORY',
    'resolver_preload: {',
    `  ${account}: ${await accountToken(account, 'windlass')}`,
    `  ${system}: ${await accountToken(system, 'system')}`,
    '}',
  ];
  return `${lines.join('\n')}\n`;
}

/** A token of NATS: a JWT that an nkey has signed (NATS, ADR-14). */
async function tokenOf(claims: { sub: string } & Record<string, unknown>, by: string, now: number): Promise<string> {
  const { nkeys } = await import('nats');
  const pair = nkeys.fromSeed(Buffer.from(by));
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const body = { iat: Math.floor(now / 1000), iss: pair.getPublicKey(), ...claims };
  const jti = createHash('sha256').update(JSON.stringify(body)).digest('hex');
  const text = `${encode({ typ: 'JWT', alg: 'ed25519-nkey' })}.${encode({ jti, ...body })}`;
  return `${text}.${Buffer.from(pair.sign(Buffer.from(text))).toString('base64url')}`;
}
