// Reads a request body as JSON, within limits, and refuses what could mean one thing here and another elsewhere.
import { WindlassError } from '#runtime/api/errors.ts';
import type { ServerLimits } from './limits.ts';

/**
 * The value of a JSON body. Throws WL_REQUEST_INVALID for more nesting, keys and lists than the limits allow (before anything is built
 * of it), for bytes that are no UTF-8, malformed JSON, lone surrogates, numbers beyond double precision's range and `__proto__` keys.
 */
export function parseJsonBody(body: Uint8Array, limits: Pick<ServerLimits, 'jsonDepth' | 'jsonKeys'>): unknown {
  checkShape(body, limits);
  const value = parse(body);
  checkValue(value, '', '');
  return value;
}

const quote = 0x22;
const backslash = 0x5c;
const colon = 0x3a;
const openList = 0x5b;
const closeList = 0x5d;
const openObject = 0x7b;
const closeObject = 0x7d;

/** Counts brackets and colons outside of strings; what is not JSON is found later. */
function checkShape(body: Uint8Array, limits: Pick<ServerLimits, 'jsonDepth' | 'jsonKeys'>): void {
  let depth = 0;
  let keys = 0;
  let inString = false;
  for (let i = 0; i < body.length; i += 1) {
    const byte = body[i];
    if (inString) {
      if (byte === backslash) i += 1;
      else if (byte === quote) inString = false;
    } else if (byte === quote) {
      inString = true;
    } else if (byte === openList || byte === openObject) {
      depth += 1;
      keys += byte === openList ? 1 : 0;
      if (depth > limits.jsonDepth) refuse(`more than ${limits.jsonDepth} levels of nesting`, '');
      if (keys > limits.jsonKeys) refuse(`more than ${limits.jsonKeys} keys and lists`, '');
    } else if (byte === closeList || byte === closeObject) {
      depth -= 1;
    } else if (byte === colon) {
      keys += 1;
      if (keys > limits.jsonKeys) refuse(`more than ${limits.jsonKeys} keys and lists`, '');
    }
  }
}

/** Looks at every text, number and key; the nesting is bounded by `checkShape`. */
function checkValue(value: unknown, parent: string, key: string | number): void {
  if (typeof value === 'string') {
    if (!value.isWellFormed()) refuse('a lone surrogate, which is no text', join(parent, key));
  } else if (typeof value === 'number') {
    if (!Number.isFinite(value)) refuse('a number too large for a double', join(parent, key));
  } else if (Array.isArray(value)) {
    const path = join(parent, key);
    for (const [index, entry] of (value as unknown[]).entries()) checkValue(entry, path, index);
  } else if (typeof value === 'object' && value !== null) {
    const path = join(parent, key);
    for (const [name, entry] of Object.entries(value)) {
      if (name === '__proto__') refuse('a key __proto__, which is not allowed', path);
      if (!name.isWellFormed()) refuse('a lone surrogate, which is no text', path);
      checkValue(entry, path, name);
    }
  }
}

function join(parent: string, key: string | number): string {
  if (typeof key === 'number') return `${parent}[${key}]`;
  return parent === '' ? key : key === '' ? parent : `${parent}.${key}`;
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

/** `path` is where `what` stands; '' is the body as a whole. */
function refuse(what: string, path: string): never {
  const message = `${path === '' ? 'the body' : path.slice(0, 100)} has ${what}`;
  const [param = ''] = /^[^.[]*/.exec(path) ?? [];
  throw new WindlassError('WL_REQUEST_INVALID', message, param === '' ? {} : { details: { param: param.slice(0, 100) } });
}
