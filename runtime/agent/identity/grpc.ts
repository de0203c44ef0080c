// gRPC between pods of one job over TLS: both sides show certificates of the operator's authority, and take only those of their own job.
import { checkServerIdentity } from 'node:tls';
import type { PeerCertificate } from 'node:tls';
import { credentials, experimental } from '@grpc/grpc-js';
import type { ChannelCredentials, ServerCredentials } from '@grpc/grpc-js';
import type { Identity } from './request.ts';

type Provider = Parameters<typeof experimental.createCertificateProviderServerCredentials>[0];

/** What changes of an identity are told by. */
export interface IdentitySource {
  readonly current: Identity;
  onRenewed(listener: (identity: Identity) => void): () => void;
}

/** New connections are accepted with the identity of then. */
export function serverCredentials(source: IdentitySource): ServerCredentials {
  const provider = providerOf(source);
  return experimental.createCertificateProviderServerCredentials(provider, provider, true);
}

/** For one connection, to the pod of `job` (its URI) that the channel is told the name of. */
export function channelCredentials({ ca, cert, key }: Identity, job: string): ChannelCredentials {
  return credentials.createSsl(Buffer.from(ca), Buffer.from(key), Buffer.from(cert), {
    checkServerIdentity: (host, peer) => checkServerIdentity(host, peer) ?? strangerFault(peer, job),
  });
}

/** Why a peer is not a pod of the job; undefined if it is. */
export function strangerFault(
  peer: Pick<PeerCertificate, 'subject' | 'subjectaltname'> | undefined,
  job: string,
): Error | undefined {
  const names = peer?.subjectaltname?.split(', ') ?? [];
  if (names.includes(`URI:${job}`)) return undefined;
  return new Error(`the peer is of another job: its certificate is for ${names.join(', ') || 'nobody'}, not for ${job}`);
}

function providerOf(source: IdentitySource): Provider {
  const stops = new Map<object, () => void>();
  const listen = <T>(listener: (update: T) => void, updateOf: (identity: Identity) => T): void => {
    // The server counts who listens after it has asked: what it is told at once, it forgets.
    process.nextTick(() => listener(updateOf(source.current)));
    stops.set(
      listener,
      source.onRenewed((identity) => listener(updateOf(identity))),
    );
  };
  const stop = (listener: object): void => {
    stops.get(listener)?.();
    stops.delete(listener);
  };
  return {
    addCaCertificateListener: (listener) => listen(listener, ({ ca }) => ({ caCertificate: Buffer.from(ca) })),
    removeCaCertificateListener: stop,
    addIdentityCertificateListener: (listener) =>
      listen(listener, ({ cert, key }) => ({ certificate: Buffer.from(cert), privateKey: Buffer.from(key) })),
    removeIdentityCertificateListener: stop,
  };
}
