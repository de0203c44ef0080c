// Whom a ServiceAccount token is of. The API server decides; what the token says of itself is read first, so that nonsense does not reach it.
import { z } from 'zod';
import type { KubeClient } from '#operator/kube/client.ts';
import { TokenReview } from '#operator/kube/core.ts';
import { tokenAudience } from '#runtime/api/credentials.ts';
import { Refusal } from './entitlement.ts';
import type { BoundPod } from './entitlement.ts';

const Claims = z.object({
  aud: z.union([z.string(), z.array(z.string())]),
  exp: z.number(),
  'kubernetes.io': z.object({ namespace: z.string(), pod: z.object({ name: z.string(), uid: z.string() }) }),
});

const maxTokenBytes = 8_192;

/** What the token claims, which nobody has checked yet. Throws a Refusal for one that can't be good. */
export function claimedPod(token: string, now: number): BoundPod {
  const parsed = Claims.safeParse(token.length > maxTokenBytes ? undefined : payloadOf(token));
  if (!parsed.success) throw new Refusal(401, 'the token is not one of a ServiceAccount, bound to a pod');
  const { aud, exp, 'kubernetes.io': bound } = parsed.data;
  if (![aud].flat().includes(tokenAudience)) throw new Refusal(401, `the token is not for the audience ${tokenAudience}`);
  if (exp * 1000 <= now) throw new Refusal(401, 'the token has expired');
  return { namespace: bound.namespace, name: bound.pod.name, uid: bound.pod.uid };
}

/** The pod that the API server knows the token to be of. Throws a Refusal if there is none. */
export async function reviewedPod(client: Pick<KubeClient, 'create'>, token: string): Promise<BoundPod> {
  const review = { apiVersion: 'authentication.k8s.io/v1', kind: TokenReview.kind, metadata: { name: '' } };
  const { status } = await client.create(TokenReview, { ...review, spec: { token, audiences: [tokenAudience] } });
  if (!status?.authenticated || !status.audiences?.includes(tokenAudience))
    throw new Refusal(401, `the API server does not take the token${status?.error ? `: ${status.error}` : ''}`);
  const namespace = /^system:serviceaccount:([^:]+):/.exec(status.user?.username ?? '')?.[1];
  const extra = (name: string) => status.user?.extra?.[`authentication.kubernetes.io/${name}`]?.[0];
  const [name, uid] = [extra('pod-name'), extra('pod-uid')];
  if (namespace === undefined || name === undefined || uid === undefined)
    throw new Refusal(401, 'the token is not bound to a pod');
  return { namespace, name, uid };
}

function payloadOf(token: string): unknown {
  try {
    return JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString());
  } catch {
    return undefined;
  }
}
