// Serves the rendezvous to the agents of the other pods over gRPC. Who does not prove in time that it belongs to the job is sent away.
import { Server, ServerCredentials, status } from '@grpc/grpc-js';
import type { ServerDuplexStream } from '@grpc/grpc-js';
import { WindlassError } from '#runtime/api/errors.ts';
import { maxMessageBytes, rendezvousService } from '#runtime/api/rendezvous.ts';
import type { FromAgent, ToAgent } from '#runtime/api/rendezvous.ts';
import type { Coordinator, Place } from './coordinator.ts';
import { strangerFault, serverCredentials } from '../identity/grpc.ts';
import type { IdentitySource } from '../identity/grpc.ts';
import { hostPort } from './hosts.ts';
import { isProven, joinClaim, newNonce, prove } from './proof.ts';

export interface RendezvousServerOptions {
  /** Address of the pod. */
  readonly address: string;
  readonly port: number;
  readonly secret: string;
  readonly attempt: number;
  readonly pods: number;
  readonly coordinator: Pick<Coordinator, 'join'>;
  /** With which connections are TLS, from pods of the job with this URI only; absent: plaintext, and the secret decides alone. */
  readonly tls?: { readonly identity: IdentitySource; readonly job: string } | undefined;
}

export interface RendezvousServer {
  readonly port: number;
  /** Waits until the agents have gone, at most `graceMs`, then closes. */
  close(graceMs: number): Promise<void>;
}

type Stream = ServerDuplexStream<FromAgent, ToAgent>;

const handshakeMs = 5_000;
/** Dead connections show after twice this time at most. */
export const keepaliveMs = 2_000;

/** Throws WL_PORT_TAKEN when the address can't be bound. */
export async function serveRendezvous(options: RendezvousServerOptions): Promise<RendezvousServer> {
  const server = new Server({
    'grpc.max_receive_message_length': maxMessageBytes,
    'grpc.max_concurrent_streams': 2 * options.pods,
    'grpc.keepalive_time_ms': keepaliveMs,
    'grpc.keepalive_timeout_ms': keepaliveMs,
  });
  const streams = new Set<Stream>();
  let lastGone = () => {};
  server.addService(rendezvousService, {
    join: (stream: Stream) => {
      streams.add(stream);
      receive(stream, options, () => {
        streams.delete(stream);
        if (streams.size === 0) lastGone();
      });
    },
  });
  const { tls } = options;
  const credentials = tls ? serverCredentials(tls.identity) : ServerCredentials.createInsecure();
  const address = hostPort(options.address, options.port);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(address, credentials, (cause, bound) => {
      if (!cause) return resolve(bound);
      reject(new WindlassError('WL_PORT_TAKEN', `the rendezvous can't listen on ${address}: ${cause.message}`, { cause }));
    });
  });
  return {
    port,
    async close(graceMs) {
      if (streams.size > 0) {
        const timer = Promise.withResolvers<void>();
        lastGone = () => timer.resolve();
        const limit = setTimeout(lastGone, graceMs);
        await timer.promise;
        clearTimeout(limit);
      }
      server.forceShutdown();
    },
  };
}

/** One agent's stream: hello, challenge, join, and then what it says until it goes. */
function receive(stream: Stream, options: RendezvousServerOptions, onGone: () => void): void {
  const serverNonce = newNonce();
  let agentNonce: Uint8Array<ArrayBuffer> | undefined;
  let place: Place | undefined;
  let isGone = false;
  const gone = () => {
    if (isGone) return;
    isGone = true;
    clearTimeout(timer);
    place?.leave();
    onGone();
  };
  const refuse = (code: status, details: string) => {
    stream.emit('error', { code, details });
    gone();
  };
  const peer = stream.getAuthContext()?.sslPeerCertificate;
  const stranger = options.tls && strangerFault(peer, options.tls.job);
  const timer = setTimeout(() => refuse(status.DEADLINE_EXCEEDED, 'the agent did not join in time'), handshakeMs);
  stream.on('cancelled', gone);
  stream.on('close', gone);
  stream.on('error', gone);
  stream.on('end', () => {
    stream.end();
    gone();
  });
  stream.on('data', (said: FromAgent) => {
    if (isGone) return;
    if (stranger) return refuse(status.PERMISSION_DENIED, stranger.message);
    if (place) return place.hear(said);
    if (said.case === 'hello' && !agentNonce) {
      agentNonce = said.value.nonce;
      const proof = prove(options.secret, { role: 'server', agentNonce, serverNonce, text: '' });
      stream.write({ case: 'challenge', value: { nonce: serverNonce, proof } });
      return;
    }
    if (said.case !== 'join' || !agentNonce) return refuse(status.FAILED_PRECONDITION, 'the agent has not joined');
    const { index, pod, epoch, attempt, proof } = said.value;
    const claim = { role: 'agent', agentNonce, serverNonce, text: joinClaim(said.value) } as const;
    if (!isProven(options.secret, claim, proof))
      return refuse(status.UNAUTHENTICATED, 'the agent does not know the secret of the job');
    if (options.tls && peer?.subject.CN !== pod)
      return refuse(status.PERMISSION_DENIED, `the certificate of the agent is not that of pod ${pod}`);
    if (attempt !== options.attempt)
      return refuse(status.FAILED_PRECONDITION, `this is attempt ${options.attempt}, the agent is of ${attempt}`);
    if (index === 0 || index >= options.pods) return refuse(status.OUT_OF_RANGE, `the job has no pod ${index} that joins`);
    clearTimeout(timer);
    const send = (answer: ToAgent) => {
      if (!isGone) stream.write(answer);
    };
    place = options.coordinator.join({ index, pod, epoch, send });
  });
}
