// Reads a request body as JSON, within limits, and refuses what could mean one thing here and another elsewhere.
import { WindlassError } from '#runtime/api/errors.ts';
import type { ServerLimits } from './limits.ts';

/**
 * The value of a JSON body. Throws WL_REQUEST_INVALID for bytes that are no UTF-8, for malformed JSON, lone surrogates, numbers beyond
 * double precision's range and `__proto__` keys, and for more nesting or keys than the limits allow.
 */
export function parseJsonBody(body: Uint8Array, limits: Pick<ServerLimits, 'jsonDepth' | 'jsonKeys'>): unknown {
  const value = parse(body);
  let keys = 0;
  const stack: { value: unknown; depth: number; path: string }[] = [{ value, depth: 0, path: '' }];
  for (let item = stack.pop(); item; item = stack.pop()) {
    const { value, depth, path } = item;
    if (typeof value === 'string') checkText(value, path);
    else if (typeof value === 'number' && !Number.isFinite(value)) refuse(`${at(path)} is a number too large for a double`, path);
    if (typeof value !== 'object' || value === null) continue;
    if (depth >= limits.jsonDepth) refuse(`the body is nested deeper than ${limits.jsonDepth} levels`, path);
    if (Array.isArray(value)) {
      for (const [index, entry] of value.entries()) {
        if (typeof entry === 'number' && Number.isFinite(entry)) continue;
        stack.push({ value: entry, depth: depth + 1, path: `${path}[${index}]` });
      }
      continue;
    }
    for (const [key, entry] of Object.entries(value)) {
      keys += 1;
      if (keys > limits.jsonKeys) refuse(`the body has more than ${limits.jsonKeys} keys`, path);
      if (key === '__proto__') refuse(`${at(path)} has a key __proto__, which is not allowed`, path);
      checkText(key, path);
      stack.push({ value: entry, depth: depth + 1, path: path === '' ? key : `${path}.${key}` });
    }
  }
  return value;
}

function parse(body: Uint8Array): unknown {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(body);
  } catch (cause) {
    throw new WindlassError('WL_REQUEST_INVALID', 'the body is not valid UTF-8', { cause });
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    // The parser's own message quotes the text, which may be a prompt.
    const position = /position (\d+)/.exec(cause instanceof Error ? cause.message : '')?.[1];
    const where = text === '' ? ': it is empty' : position === undefined ? '' : `: see position ${position}`;
    throw new WindlassError('WL_REQUEST_INVALID', `the body is not valid JSON${where}`);
  }
}

function checkText(text: string, path: string): void {
  if (!text.isWellFormed()) refuse(`${at(path)} has a lone surrogate, which is no text`, path);
}

function at(path: string): string {
  return path === '' ? 'the body' : path.slice(0, 100);
}

function refuse(message: string, path: string): never {
  const param = /^[^.[]*/.exec(path)?.[0];
  throw new WindlassError('WL_REQUEST_INVALID', message, param ? { details: { param: param.slice(0, 100) } } : {});
}
