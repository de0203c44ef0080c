// Proves to the other side that one knows the secret of the job, without saying it.
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';

type Bytes = Uint8Array<ArrayBuffer>;

/** A fresh challenge. */
export const newNonce = (): Bytes => new Uint8Array(randomBytes(32));

export interface Claim {
  /** Who proves itself; keeps a proof from being sent back to its maker. */
  readonly role: 'agent' | 'server';
  readonly agentNonce: Bytes;
  readonly serverNonce: Bytes;
  /** What is claimed beside the knowledge of the secret. */
  readonly text: string;
}

export function prove(secret: string, { role, agentNonce, serverNonce, text }: Claim): Bytes {
  const hmac = createHmac('sha256', secret).update(`windlass rendezvous ${role}\n`);
  return new Uint8Array(hmac.update(agentNonce).update(serverNonce).update(text).digest());
}

export function isProven(secret: string, claim: Claim, proof: Bytes): boolean {
  return timingSafeEqual(prove(secret, claim), proof);
}

/** What an agent claims when it joins. */
export const joinClaim = (join: { index: number; pod: string; attempt: number; epoch: number }): string =>
  [join.index, join.attempt, join.epoch, join.pod].join('\n');

/** Secret of the ranks of one epoch; each agent derives it, so that it never passes over the network. */
export function rankSecret(secret: string, attempt: number, epoch: number): string {
  return createHmac('sha256', secret).update(`windlass ranks\n${attempt}\n${epoch}`).digest('hex');
}
