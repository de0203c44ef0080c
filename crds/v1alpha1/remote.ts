// What is on http(s) servers: how an address, its digest and the Secret that opens it are written, wherever a spec names one.
import { z } from 'zod';
import type { Rule } from '../rules.ts';

/** No credentials, no fragment, and nothing that is not ASCII: the rest is percent-encoded. */
const server = String.raw`https?:\/\/([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?\/`;
const path = String.raw`[!"$->@-~]*`;
const query = String.raw`(\?[!"$-~]*)?`;

/** A .txt or .jsonl file, an archive of such files, or a folder with a list of its files. */
export const remoteDataPattern = new RegExp(String.raw`${server}(${path}(\/|\.txt|\.jsonl|\.tar|\.tar\.gz|\.tgz))?${query}`);
/** A .json or .gguf file, or a folder with a list of its files. */
export const remoteTokenizerPattern = new RegExp(String.raw`${server}(${path}(\/|\.json|\.gguf))?${query}`);
export const remoteFolderPattern = new RegExp(`${server}${path}${query}`);

/** `a|b` as a pattern of whole strings. */
export function oneOfPatterns(...patterns: RegExp[]): RegExp {
  return new RegExp(`^(${patterns.map(({ source }) => source.replace(/^\^|\$$/g, '')).join('|')})$`);
}

export const Digest = z
  .string()
  .max(80)
  .regex(/^sha256:[0-9a-f]{64}$/, 'must be sha256: and 64 hexadecimal digits');

export const SecretReference = z
  .strictObject({
    name: z
      .string()
      .min(1)
      .max(253)
      .regex(/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/, 'must be the name of a Secret')
      .describe('Name of the Secret.'),
  })
  .describe('Secret for the server: bearerToken, or username and password; ca.crt for an authority of its own.');

const isServer = (uri: string | undefined): boolean => uri !== undefined && /^https?:\/\//.test(uri);

/** What a field of a spec holds. */
const textIn = (self: object, field: string): string | undefined => (self as Record<string, string | undefined>)[field];

/** Credentials are never sent where others can read them. `field` holds the address. */
export function secretRule(field: string): Rule<object> {
  return {
    cel: `!has(self.secretRef) || (has(self.${field}) && self.${field}.startsWith('https://'))`,
    holds: (self) =>
      !('secretRef' in self) || self.secretRef === undefined || textIn(self, field)?.startsWith('https://') === true,
    message: `secretRef needs ${field}: https://...`,
    path: ['secretRef'],
  };
}

/** A digest is of what a server has; who reads a folder of the machine knows what is in it. */
export function digestRule(field: string): Rule<object> {
  return {
    cel: `!has(self.digest) || (has(self.${field}) && self.${field}.matches('^https?://'))`,
    holds: (self) => textIn(self, 'digest') === undefined || isServer(textIn(self, field)),
    message: `digest needs ${field}: https://...`,
    path: ['digest'],
  };
}

/** What stays on a claim or node for others is kept under its digest. `what`: for the message. */
export function digestNeeded(field: string, what = 'a model'): Rule<object> {
  return {
    cel: `!has(self.${field}) || !self.${field}.matches('^https?://') || has(self.digest)`,
    holds: (self) => !isServer(textIn(self, field)) || textIn(self, 'digest') !== undefined,
    message: `${what} from a server needs digest: sha256:...`,
    path: ['digest'],
  };
}
