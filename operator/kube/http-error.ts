// What an API server answers instead of an object (meta/v1 Status), as our error.
import type { Fault } from '#crds/faults.ts';
import { KubeError } from './errors.ts';
import type { KubeErrorReason } from './errors.ts';
import { isJsonObject } from './json.ts';

/** Reasons by HTTP status, where the Status object names none that we know. */
const byCode: Record<number, KubeErrorReason> = {
  400: 'BadRequest',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'NotFound',
  405: 'BadRequest',
  408: 'Timeout',
  409: 'Conflict',
  410: 'Expired',
  413: 'TooLarge',
  415: 'BadRequest',
  422: 'Invalid',
  429: 'TooManyRequests',
  500: 'Internal',
  502: 'Unavailable',
  503: 'Unavailable',
  504: 'Timeout',
};

/** Reasons of a Status that its code does not tell apart. */
const byReason: Record<string, KubeErrorReason> = {
  AlreadyExists: 'AlreadyExists',
  Expired: 'Expired',
  Gone: 'Expired',
  ServerTimeout: 'Timeout',
  RequestEntityTooLarge: 'TooLarge',
};

/** `code` and the body of an answer that was no success. `what` is told where the server gave no message. */
export function errorOfStatus(code: number, body: unknown, what: string, retryAfterMs?: number): KubeError {
  const status = isJsonObject(body) && body['kind'] === 'Status' ? body : {};
  const faults = faultsOf(status['details']);
  const known = byReason[String(status['reason'])] ?? byCode[code] ?? (code >= 500 ? 'Internal' : 'BadRequest');
  // Another uid under the same name is refused as a change of an immutable field by some verbs, as a conflict by others.
  const isAnother = known === 'Invalid' && faults.length > 0 && faults.every(({ path }) => path.join('.') === 'metadata.uid');
  const message = typeof status['message'] === 'string' ? status['message'] : `${what}: the API server answered ${code}`;
  return new KubeError(isAnother ? 'Conflict' : known, message, { faults, retryAfterMs });
}

function faultsOf(details: unknown): Fault[] {
  const causes = isJsonObject(details) && Array.isArray(details['causes']) ? (details['causes'] as unknown[]) : [];
  return causes.filter(isJsonObject).map(({ field, message, reason }) => ({
    path: typeof field === 'string' ? pathOf(field) : [],
    message: [message, reason].find((text) => typeof text === 'string') ?? 'refused',
  }));
}

/** `spec.containers[0].image`, `metadata.labels[a.b/c]` and `<nil>` as keys. */
function pathOf(field: string): (string | number)[] {
  return [...field.matchAll(/\[([^\]]*)\]|([^.[\]<>]+)/g)].map(([, index, key]) => {
    const part = index ?? key ?? '';
    return index !== undefined && /^\d+$/.test(index) ? Number(index) : part;
  });
}
