// Keeps an agent joined to the rendezvous: looks for it by name, proves that it belongs to the job, and tries again whenever the stream ends.
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, credentials } from '@grpc/grpc-js';
import type { ClientDuplexStream } from '@grpc/grpc-js';
import { maxMessageBytes, rendezvousService } from '#runtime/api/rendezvous.ts';
import type { FromAgent, ToAgent } from '#runtime/api/rendezvous.ts';
import { channelCredentials } from '../identity/grpc.ts';
import type { IdentitySource } from '../identity/grpc.ts';
import { hostPort, resolveHost } from './hosts.ts';
import { isProven, joinClaim, newNonce, prove } from './proof.ts';
import { keepaliveMs } from './server.ts';

export interface RendezvousClientOptions {
  readonly host: string;
  readonly port: number;
  readonly hostsFile?: string | undefined;
  readonly secret: () => string;
  /** With which connections are TLS, to pod 0 of the job with this URI only; absent: plaintext, and the secret decides alone. */
  readonly tls?: { readonly identity: IdentitySource; readonly job: string } | undefined;
  readonly index: number;
  readonly pod: string;
  readonly attempt: number;
  /** Epoch of the newest rank process here; -1: none. */
  readonly epoch: () => number;
  /** The agent is joined and may speak through `send` until the next call. */
  readonly onJoined: (send: (said: FromAgent) => void) => void;
  readonly onSaid: (said: ToAgent) => void;
  /** The stream ended, or could not be opened. `isThere`: the name of pod 0 has an address. */
  readonly onLost: (why: Error, isThere: boolean) => void;
}

const handshakeMs = 5_000;
const firstRetryMs = 100;
const longestRetryMs = 2_000;

/** Joins and stays joined until `signal` fires; resolves then. */
export async function stayJoined(options: RendezvousClientOptions, signal: AbortSignal): Promise<void> {
  let retryMs = firstRetryMs;
  while (!signal.aborted) {
    let address: string | undefined;
    try {
      address = await resolveHost(options.host, options.hostsFile);
      await joinOnce(hostPort(address, options.port), options, signal, () => (retryMs = firstRetryMs));
    } catch (error) {
      if (!signal.aborted) options.onLost(error as Error, address !== undefined);
    }
    await sleep(retryMs, undefined, { signal }).catch(() => {});
    retryMs = Math.min(2 * retryMs, longestRetryMs);
  }
}

/** Rejects when the stream ends, for whatever reason. */
async function joinOnce(
  address: string,
  options: RendezvousClientOptions,
  signal: AbortSignal,
  joined: () => void,
): Promise<never> {
  const { tls, host } = options;
  // The certificate is for the name of pod 0, not for the address that it has now.
  const named = tls ? { 'grpc.ssl_target_name_override': host, 'grpc.default_authority': host } : {};
  const client = new Client(address, tls ? channelCredentials(tls.identity.current, tls.job) : credentials.createInsecure(), {
    ...named,
    'grpc.max_receive_message_length': maxMessageBytes,
    'grpc.keepalive_time_ms': keepaliveMs,
    'grpc.keepalive_timeout_ms': keepaliveMs,
    // Each try is a connection of its own, to the address of now.
    'grpc.use_local_subchannel_pool': 1,
  });
  const { path, requestSerialize, responseDeserialize } = rendezvousService.join;
  const stream = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize);
  const cancel = () => stream.cancel();
  signal.addEventListener('abort', cancel, { once: true });
  try {
    return await converse(stream, options, joined);
  } finally {
    signal.removeEventListener('abort', cancel);
    stream.cancel();
    client.close();
  }
}

function converse(
  stream: ClientDuplexStream<FromAgent, ToAgent>,
  options: RendezvousClientOptions,
  joined: () => void,
): Promise<never> {
  const agentNonce = newNonce();
  let isJoined = false;
  let hasEnded = false;
  return new Promise<never>((_, reject) => {
    const timer = setTimeout(() => reject(new Error('the rendezvous did not answer in time')), handshakeMs);
    const end = (why: Error) => {
      hasEnded = true;
      clearTimeout(timer);
      reject(why);
    };
    stream.on('error', end);
    stream.on('end', () => end(new Error('the rendezvous closed the stream')));
    stream.on('data', (said: ToAgent) => {
      if (hasEnded) return;
      if (isJoined) return options.onSaid(said);
      if (said.case !== 'challenge') return end(new Error(`the rendezvous began with ${said.case}`));
      const { nonce: serverNonce, proof } = said.value;
      const known = { agentNonce, serverNonce };
      if (!isProven(options.secret(), { role: 'server', ...known, text: '' }, proof))
        return end(new Error('the rendezvous does not know the secret of this job'));
      const claimed = { index: options.index, pod: options.pod, attempt: options.attempt, epoch: options.epoch() };
      const own = prove(options.secret(), { role: 'agent', ...known, text: joinClaim(claimed) });
      stream.write({ case: 'join', value: { ...claimed, proof: own } });
      isJoined = true;
      clearTimeout(timer);
      joined();
      options.onJoined((message) => {
        if (!hasEnded) stream.write(message);
      });
    });
    stream.write({ case: 'hello', value: { nonce: agentNonce } });
  });
}
