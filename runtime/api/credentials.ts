// What a training pod asks the operator for when it starts, and again before that expires. Its private keys never leave it.
import { createHash } from 'node:crypto';
import { z } from 'zod';

/** Audience of the ServiceAccount tokens that pods of jobs prove themselves with: no other service takes them. */
export const tokenAudience = 'windlass';

/** Where the operator takes requests: POST, with the token as `Authorization: Bearer`. */
export const credentialsPath = '/v1/credentials';

export const CredentialsRequest = z.strictObject({
  /** The key to certify: SubjectPublicKeyInfo of a key of P-256, DER in base64. */
  publicKey: z.base64().max(256),
  /** ECDSA signature (SHA-256, DER in base64) of `proofText`, by that key. */
  proof: z.base64().max(256),
  /** Public nkey of the user that the pod is on the bus. */
  busUser: z.string().regex(/^U[A-Z2-7]{55}$/),
});
export type CredentialsRequest = z.output<typeof CredentialsRequest>;

export const CredentialsAnswer = z.object({
  /** PEM. */
  certificate: z.string(),
  /** PEM of all authorities that are trusted now. */
  ca: z.string(),
  /** Shared by the pods of the attempt. */
  secret: z.string().min(16),
  bus: z.object({
    /** What the bus of the installation takes from this user; absent where the bus is not ours. */
    token: z.string().optional(),
    /** PEM of who vouches for a bus that is not ours, beside the authorities of this machine. */
    ca: z.string().optional(),
  }),
});
export type CredentialsAnswer = z.output<typeof CredentialsAnswer>;

/** Why a request was refused. */
export const CredentialsRefusal = z.object({ reason: z.string().max(1_000) });

/** What the key that asks for a certificate signs: the token is in it, so that a proof is of no use to anybody else. */
export function proofText(token: string): string {
  return `windlass credentials\n${createHash('sha256').update(token).digest('hex')}`;
}

/** Name of a job in the certificates of its pods: they take nobody else's. */
export function jobUri(namespace: string, jobUid: string): string {
  return `spiffe://windlass/${namespace}/${jobUid}`;
}
