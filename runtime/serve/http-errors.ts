// What the HTTP framework and parser refuse by themselves, with our codes and in the shape of the protocol.
import type { Socket } from 'node:net';
import { WindlassError, toWindlassError } from '#runtime/api/errors.ts';
import type { ServerLimits } from './limits.ts';

/** Gives the framework's own refusals a code. */
export function fromFramework(thrown: unknown, limits: ServerLimits): WindlassError {
  const code = thrown instanceof Error && 'code' in thrown ? thrown.code : undefined;
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE') {
    return new WindlassError('WL_REQUEST_TOO_LARGE', `the body has more than ${limits.bodyBytes} bytes`, {
      details: { limit: limits.bodyBytes },
    });
  }
  if (code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE' || code === 'FST_ERR_CTP_EMPTY_TYPE') {
    return new WindlassError('WL_REQUEST_INVALID', 'the content-type must be application/json', { details: { status: 415 } });
  }
  const status = thrown instanceof Error && 'statusCode' in thrown ? Number(thrown.statusCode) : 500;
  if (status >= 400 && status < 500)
    return new WindlassError('WL_REQUEST_INVALID', (thrown as Error).message, { details: { status } });
  return toWindlassError(thrown);
}

const clientErrors: Record<string, readonly [status: string, message: string]> = {
  HPE_HEADER_OVERFLOW: ['431 Request Header Fields Too Large', 'the headers are too large'],
  ERR_HTTP_REQUEST_TIMEOUT: ['408 Request Timeout', 'the request took too long to arrive'],
};

/** Answers bytes that are no HTTP; there is no request to speak of. */
export function refuseConnection(error: Error & { code?: string }, socket: Socket): void {
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  const [status, message] = clientErrors[error.code ?? ''] ?? ['400 Bad Request', 'the request is not valid HTTP'];
  const body = JSON.stringify({ error: { message, type: 'invalid_request_error', param: null, code: 'WL_REQUEST_INVALID' } });
  socket.end(
    `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  );
}
