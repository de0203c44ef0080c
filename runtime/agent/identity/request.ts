// Asks the operator for the credentials of this pod, once. The keys are made here, anew for each request, and stay here.
import { generateKeyPairSync, sign } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { request } from 'node:https';
import { CredentialsAnswer, credentialsPath, CredentialsRefusal, proofText } from '#runtime/api/credentials.ts';
import type { CredentialsRequest } from '#runtime/api/credentials.ts';
import { newBusKey } from '#runtime/api/bus-key.ts';

/** What this pod proves itself with, and whom it trusts. Texts are PEM. */
export interface Identity {
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
  /** Shared by the pods of the attempt. */
  readonly secret: string;
  readonly bus: {
    /** Whose token the bus takes. */
    readonly token: string | undefined;
    readonly seed: Uint8Array;
    /** Who vouches for a bus that is not of the installation. */
    readonly ca: string | undefined;
  };
}

export interface CredentialsSource {
  /** `https://HOST:PORT` of the operator. */
  readonly url: string;
  /** PEM of the authorities that vouch for it. */
  readonly ca: string;
  readonly tokenFile: string;
}

/** What the operator answers when it gives nothing. */
export class RefusedError extends Error {
  /** How long it wants to be left alone. */
  readonly retryAfterMs: number;

  constructor(status: number, reason: string, retryAfterMs: number) {
    super(`the operator answers ${status}: ${reason}`);
    this.name = 'RefusedError';
    this.retryAfterMs = retryAfterMs;
  }
}

const timeoutMs = 10_000;
/** However long an answer asks to wait. */
const maxRetryAfterMs = 60_000;
const maxAnswerBytes = 256 << 10;

/** Throws an error that says why there are none. */
export async function requestIdentity(source: CredentialsSource, signal: AbortSignal): Promise<Identity> {
  const token = (await readFile(source.tokenFile, 'utf8')).trim();
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  const busKey = await newBusKey();
  const body: CredentialsRequest = {
    publicKey: publicKey.export({ type: 'spki', format: 'der' }).toString('base64'),
    proof: sign('sha256', Buffer.from(proofText(token)), privateKey).toString('base64'),
    busUser: busKey.publicKey,
  };
  const { status, text, retryAfter } = await post(source, token, JSON.stringify(body), signal);
  if (status !== 200) throw new RefusedError(status, reasonIn(text), retryAfterMsOf(retryAfter));
  const answer = CredentialsAnswer.parse(JSON.parse(text));
  return {
    cert: answer.certificate,
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }),
    ca: answer.ca,
    secret: answer.secret,
    bus: { token: answer.bus.token, seed: busKey.seed, ca: answer.bus.ca },
  };
}

function post(
  { url, ca }: CredentialsSource,
  token: string,
  body: string,
  signal: AbortSignal,
): Promise<{ status: number; text: string; retryAfter: string | undefined }> {
  return new Promise((resolve, reject) => {
    const headers = {
      authorization: `Bearer ${token}`,
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
    };
    const limit = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
    const sent = request(
      new URL(credentialsPath, url),
      { method: 'POST', ca, headers, agent: false, minVersion: 'TLSv1.3', signal: limit },
      (response) => {
        let text = '';
        const retryAfter = response.headers['retry-after'];
        response.setEncoding('utf8').on('data', (part: string) => {
          text += part;
          if (text.length > maxAnswerBytes) response.destroy(new Error(`the answer is larger than ${maxAnswerBytes} bytes`));
        });
        response.once('error', reject);
        response.once('end', () => resolve({ status: response.statusCode ?? 0, text, retryAfter }));
      },
    );
    sent.once('error', (error) =>
      reject(limit.aborted && !signal.aborted ? new Error(`no answer within ${timeoutMs / 1000} s`) : error),
    );
    sent.end(body);
  });
}

/** Seconds, as our operator says it (RFC 9110, 10.2.3). */
function retryAfterMsOf(header: string | undefined): number {
  return /^\d{1,9}$/.test(header ?? '') ? Math.min(Number(header) * 1000, maxRetryAfterMs) : 0;
}

function reasonIn(text: string): string {
  try {
    return CredentialsRefusal.parse(JSON.parse(text)).reason;
  } catch {
    return text.slice(0, 200);
  }
}
