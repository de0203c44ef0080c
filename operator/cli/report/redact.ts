// Takes secrets out of objects and texts before anybody else sees them, and remembers what they were, so that no other text tells them.
import { annotation } from '#crds/names.ts';
import { isJsonObject } from '#operator/kube/json.ts';
import { promisesSecret } from './secret-names.ts';

export interface Redactor {
  /** A copy without secrets. */
  object(value: unknown): unknown;
  text(text: string): string;
  /** A secret by itself: it is taken out wherever it occurs. */
  learn(secret: string): void;
}

const gone = '[redacted]';
/** Shorter ones are words that occur in any text. */
const shortestSecret = 6;
/** What repeats the whole object or the variables of a pod, secrets included, or is of no use to anybody. */
const leftOut = new Set(['kubectl.kubernetes.io/last-applied-configuration', annotation.settings, 'managedFields']);

/** Patterns of secrets that need no name. */
const patterns: readonly [RegExp, string][] = [
  [/-----BEGIN [A-Z ]*PRIVATE KEY-----[^]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)/g, gone],
  [/\b([a-z][a-z0-9+.-]{0,31}:\/\/)[^\s/@"'\\]+@/gi, `$1${gone}@`],
  [/\b(authorization\\?["']?\s*[:=]\s*\\?["']?)(?:(?:bearer|basic|digest|token)\s+)?[^\s"'\\,}]+/gi, `$1${gone}`],
  [/\b(bearer\s+)[\w.~+/=-]{8,}/gi, `$1${gone}`],
  [/(?<![\w-])eyJ[\w-]{8,8192}\.[\w-]{8,8192}\.[\w-]*/g, gone],
  [/\b(?:hf_|ghp_|gho_|ghs_|github_pat_|glpat-|sk-|xox[abp]-|AKIA|ASIA)[A-Za-z0-9_-]{12,}/g, gone],
];

/**
 * `name: value`, `name=value`, `"name":"value"`, the quotes escaped or not. Names have an end, and begin where no other one goes on: a text without
 * spaces is read once, however long it is.
 */
const pair = /(?<![\w.-])([A-Za-z_-][\w.-]{0,127})(\\*["']?)([ \t]*[:=][ \t]*)(?:(\\*["'])(.*?)\4|([^\s,;&}\]"'\\]+))/g;
/** `--name value`. */
const flag = /(?<![\w-])(--[a-z][\w-]{0,127})([ \t]+)([^\s-]\S*)/gi;

export function createRedactor(): Redactor {
  const secrets = new Set<string>();
  const learn = (secret: string) => {
    if (secret.length >= shortestSecret) secrets.add(secret);
  };
  const text = (before: string): string => {
    let after = before;
    for (const secret of secrets) if (after.includes(secret)) after = after.replaceAll(secret, gone);
    for (const [pattern, replacement] of patterns) after = after.replace(pattern, replacement);
    after = after.replace(pair, (whole: string, name: string, end: string, sign: string, quote = '', quoted = '', bare = '') => {
      const isOpen = (quoted || bare) !== '' && !(quoted || bare).startsWith(gone.slice(0, -1));
      return isOpen && promisesSecret(name) ? `${name}${end}${sign}${quote}${gone}${quote}` : whole;
    });
    return after.replace(flag, (whole: string, name: string, space: string) =>
      promisesSecret(name) ? `${name}${space}${gone}` : whole,
    );
  };
  const secret = (value: unknown): unknown => {
    if (typeof value !== 'string' || value === '') return object(value);
    learn(value);
    return gone;
  };
  const object = (value: unknown): unknown => {
    if (typeof value === 'string') return text(value);
    if (Array.isArray(value))
      return value.map((item: unknown, index) => (isFlag(value[index - 1]) ? secret(item) : object(item)));
    if (!isJsonObject(value)) return value;
    const isSecretPair = typeof value['name'] === 'string' && promisesSecret(value['name']);
    return Object.fromEntries(
      Object.entries(value)
        .filter(([key]) => !leftOut.has(key))
        .map(([key, inner]) => [key, promisesSecret(key) || (key === 'value' && isSecretPair) ? secret(inner) : object(inner)]),
    );
  };
  return { object, text, learn };
}

/** An argument whose value is the next one. */
function isFlag(value: unknown): boolean {
  return typeof value === 'string' && /^--?[a-z][\w-]*$/i.test(value) && promisesSecret(value);
}
