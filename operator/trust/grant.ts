// Gives a pod what it is entitled to: a certificate for its own key, a token for the bus, the secret of its attempt.
import { createHmac, verify } from 'node:crypto';
import type { CredentialsAnswer, CredentialsRequest } from '#runtime/api/credentials.ts';
import { proofText } from '#runtime/api/credentials.ts';
import { bundleOf, validFrom } from './authority.ts';
import type { Trust } from './authority-keeper.ts';
import { userToken } from './bus-accounts.ts';
import { Refusal } from './entitlement.ts';
import type { Entitlement } from './entitlement.ts';
import { issue, readPublicKey } from './x509.ts';

export interface GrantRules {
  readonly certificateMs: number;
  /** Whether the bus takes our tokens. */
  readonly ownBus: boolean;
  /** PEM of who vouches for a bus that is not ours. */
  readonly busCa: string | undefined;
}

/** Throws a Refusal for a key that the pod does not have. */
export async function grant(
  { pod, jobUid, attempt, dnsNames, uri, subjects }: Entitlement,
  request: CredentialsRequest,
  token: string,
  trust: Trust,
  now: number,
  rules: GrantRules,
): Promise<CredentialsAnswer> {
  const der = Buffer.from(request.publicKey, 'base64');
  const publicKey = readPublicKey(der);
  if (!publicKey) throw new Refusal(400, 'publicKey is no SubjectPublicKeyInfo of a key of the curve P-256');
  const proof = Buffer.from(request.proof, 'base64');
  if (!verify('sha256', Buffer.from(proofText(token)), { key: publicKey, format: 'der', type: 'spki' }, proof))
    throw new Refusal(400, 'proof is not signed by publicKey');
  const validity = validFrom(now, rules.certificateMs);
  const certificate = await issue(
    {
      // At most 63 letters, since it is a host name too; a subject may have 64 (RFC 5280, appendix A.1).
      commonName: pod.name,
      publicKey,
      dnsNames,
      uris: [uri],
      usages: ['server', 'client'],
      ...validity,
    },
    trust.authority.current,
  );
  const user = {
    publicKey: request.busUser,
    name: `${pod.namespace}/${pod.name}`,
    mayPublish: subjects,
    maySubscribe: [],
    until: validity.until,
  };
  return {
    certificate,
    ca: bundleOf(trust.authority),
    secret: attemptSecret(trust.root, jobUid, attempt),
    bus: {
      ...(rules.ownBus ? { token: await userToken(user, trust.bus.account, now) } : {}),
      ...(rules.busCa === undefined ? {} : { ca: rules.busCa }),
    },
  };
}

/** The same for all pods of an attempt, whichever operator they ask; no other job and no other attempt has it. */
function attemptSecret(root: string, jobUid: string, attempt: number): string {
  return createHmac('sha256', root).update(`windlass job\n${jobUid}\n${attempt}`).digest('base64url');
}
