// Parses an object of the API, without the books on who owns which field: they are half of its text, and nobody here reads them.

const key = '"managedFields":[';

/**
 * The value of a JSON text, in which the first list of managed fields is empty: that of the metadata, which the API server writes before
 * anything that people give. Throws SyntaxError.
 */
export function parseObject(text: string): unknown {
  // Inside of a string the second quote would have a backslash before it.
  const begin = text.indexOf(key);
  const end = begin < 0 ? -1 : endOfList(text, begin + key.length);
  return JSON.parse(end < 0 ? text : text.slice(0, begin + key.length) + text.slice(end)) as unknown;
}

const [quote, backslash, open, close] = [0x22, 0x5c, 0x5b, 0x5d];

/** Index of the bracket that closes a list; -1 if none does. */
function endOfList(text: string, from: number): number {
  let depth = 1;
  for (let at = from; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === quote) {
      at = endOfString(text, at + 1);
      if (at < 0) return -1;
    } else if (code === open) depth += 1;
    else if (code === close && --depth === 0) return at;
  }
  return -1;
}

/** Index of the quote that ends a string. */
function endOfString(text: string, from: number): number {
  for (let at = text.indexOf('"', from); at >= 0; at = text.indexOf('"', at + 1)) {
    let slashes = 0;
    while (text.charCodeAt(at - 1 - slashes) === backslash) slashes += 1;
    if (slashes % 2 === 0) return at;
  }
  return -1;
}
