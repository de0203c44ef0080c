// What a report is made of: texts without secrets, and what could not be read, with the reason.
import { stringify } from 'yaml';
import type { KubeObject } from '#crds/resource.ts';
import { errorTable } from '#runtime/api/errors.ts';
import { codesIn } from '../explain/explain.ts';
import { formatBytes } from '../format.ts';
import { createRedactor } from './redact.ts';
import type { Packed } from './tar.ts';

export interface Collected {
  /** Objects first: what they tell of secrets is taken out of all other texts. */
  addObjects(objects: readonly KubeObject[]): void;
  addText(path: string, text: string): void;
  /** Something that could not be read. */
  miss(what: string, why: unknown): void;
  /** A secret that no text may tell. */
  learn(secret: string): void;
  /** All files, with what is in them, what is missing, and what the error codes in them mean. */
  files(): Packed[];
  readonly missed: readonly string[];
}

const about = `This is a report of Windlass, made to be attached to an issue.

Secrets were taken out: values of variables, fields, flags and parameters whose names promise one, user names and passwords in
URLs, Authorization headers, private keys and known kinds of tokens; and wherever else the same values occur. Secrets of the
cluster were not read, hence not the values of the chart either, which Helm keeps in one: the Deployment of the operator shows
what follows from them. Look through it before you give it away.
`;

export function createCollected(): Collected {
  const redactor = createRedactor();
  const raw: { path: string; text: string; object?: unknown }[] = [];
  const missed: string[] = [];
  return {
    missed,
    learn: (secret) => redactor.learn(secret),
    miss(what, why) {
      const line = redactor.text(`${what}: ${why instanceof Error ? why.message : String(why)}`);
      if (!missed.includes(line)) missed.push(line);
    },
    addObjects(objects) {
      for (const object of objects) {
        const { kind, metadata } = object;
        const path = ['objects', metadata.namespace, `${kind.toLowerCase()}-${metadata.name}.yaml`].filter(
          (part) => part !== undefined,
        );
        raw.push({ path: path.join('/'), text: '', object });
      }
    },
    addText(path, text) {
      raw.push({ path, text });
    },
    files() {
      // Twice: the secrets of the last object shall be gone from the first one, too.
      for (const { object } of raw) redactor.object(object);
      const files = raw.map(({ path, text, object }) => ({
        path,
        text: redactor.text(object === undefined ? text : stringify(redactor.object(object))),
      }));
      const codes = codesIn(files.map(({ text }) => text).join('\n'));
      const explained = codes.map((code) => `${code}\n  ${errorTable[code].cause}\n  What to do: ${errorTable[code].remedy}\n`);
      if (codes.length > 0) files.unshift({ path: 'explain.txt', text: explained.join('\n') });
      const contents = files.map(({ path, text }) => `  ${path}  ${formatBytes(Buffer.byteLength(text))}\n`).join('');
      const gaps = missed.map((line) => `  ${line}\n`).join('') || '  nothing\n';
      return [{ path: 'README.txt', text: `${about}\nIn it:\n${contents}\nCould not be read:\n${gaps}` }, ...files];
    },
  };
}
