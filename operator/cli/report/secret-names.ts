// Which names promise a secret as their value: of environment variables, fields, flags and parameters. Pure.

/** Words that make a secret wherever they stand in a name. */
const anywhere = new Set(['password', 'passwd', 'passphrase', 'credential', 'credentials', 'authorization']);
/** Words that make one at the end. */
const atEnd = new Set([
  'secret',
  'token',
  'pass',
  'pwd',
  'pw',
  'cookie',
  'signature',
  'sig',
  'apikey',
  'privatekey',
  'accesskey',
]);
/** What a key must be of to be one: others name a field, a taint or a parameter. */
const keysOf = new Set([
  'api',
  'access',
  'private',
  'secret',
  'signing',
  'account',
  'auth',
  'encryption',
  'shared',
  'ssh',
  'client',
  'license',
]);
/** A token of these is one of a text. */
const tokensOf = new Set([
  'bos',
  'eos',
  'pad',
  'unk',
  'sep',
  'cls',
  'mask',
  'next',
  'first',
  'last',
  'per',
  'special',
  'stop',
  'added',
  'to',
  'each',
]);
/** A name that ends so says where a secret is, and not what. */
const places = new Set(['name', 'names', 'namespace', 'ref', 'path', 'file', 'mount', 'uri', 'id', 'type', 'dir']);

/** `WL_SECRET`, `apiKey`, `--auth-token`, `X-Amz-Signature`; not `tokensPerSecond`, `eos_token`, `secretName`. */
export function promisesSecret(name: string): boolean {
  const words = name
    .replaceAll(/([a-z0-9])([A-Z])/g, '$1 $2')
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .filter((word) => word !== '');
  const [last = '', before = ''] = words.toReversed();
  if (places.has(last)) return false;
  if (words.some((word) => anywhere.has(word))) return true;
  if (last === 'token') return !tokensOf.has(before);
  if (last === 'key') return keysOf.has(before);
  return atEnd.has(last) || words.includes('secret');
}
