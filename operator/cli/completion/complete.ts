// `windlass __complete`, and with it `kubectl_complete-windlass`: candidates for the last word, in the protocol that kubectl shares with cobra.
import { readFile } from 'node:fs/promises';
import { parse } from 'yaml';
import type { KubeObject, ResourceType } from '#crds/resource.ts';
import { explainable } from '../explain/explain.ts';
import type { TargetFlags } from '../target/choose.ts';
import { findObjects } from '../target/references.ts';
import { kubeconfigFiles, withTarget } from '../target/target.ts';
import type { Caller } from '../target/target.ts';
import { flagValue, kindCandidates, nextWords } from './words.ts';
import type { CommandWords, Next } from './words.ts';

/** What the shell does with the candidates: only them, or file names if there are none. */
const directive = { only: ':4', files: ':0' } as const;

/** Who presses a key waits no longer for it than this, unless $WL_COMPLETION_SECONDS says so. */
const limitMs = Number(process.env['WL_COMPLETION_SECONDS'] ?? 3) * 1000;

const Namespace: ResourceType = { group: '', version: 'v1', kind: 'Namespace', plural: 'namespaces', namespaced: false };

/** A line for each candidate, with what it means behind a tab, and a last one for the shell. Never throws: a cluster that can't be asked has no names. */
export async function complete(line: readonly string[], commands: readonly CommandWords[], caller: Caller): Promise<string> {
  const next = nextWords(line, commands, explainable());
  const current = line.at(-1) ?? '';
  const slow = Promise.withResolvers<[]>();
  const timer = setTimeout(() => slow.resolve([]), limitMs);
  const found = await Promise.race([candidates(next, line, { ...caller, timeoutMs: limitMs }).catch(() => []), slow.promise]);
  clearTimeout(timer);
  const fitting = [...new Map(found)].filter(([word]) => word.startsWith(current));
  const lines = fitting.map(([word, meaning]) => (meaning === '' ? word : `${word}\t${meaning}`));
  return `${[...lines, 'ask' in next && next.ask === 'files' ? directive.files : directive.only].join('\n')}\n`;
}

async function candidates(next: Next, line: readonly string[], caller: Caller): Promise<[word: string, meaning: string][]> {
  if ('words' in next) return next.words.map(([word, meaning]) => [word, meaning]);
  if ('names' in next) {
    const names = await withTarget(flagsOf(line), caller, (target) => findObjects(target, {}, next.names)).catch(() => []);
    const kinds = next.kinds ? kindCandidates.map((kind): [string, string] => [kind, '']) : [];
    return [...names.map((object): [string, string] => [`${next.prefix}${object.metadata.name}`, meaningOf(object)]), ...kinds];
  }
  if (next.ask === 'contexts') return (await contexts(line)).map((name) => [name, '']);
  if (next.ask === 'files') return [];
  return await withTarget({ ...flagsOf(line), allNamespaces: true }, caller, async ({ api }) => {
    const { items } = await api.list(Namespace);
    return items.map(({ metadata }) => [metadata.name, '']);
  });
}

function meaningOf({ kind, status }: KubeObject & { status?: { state?: string } }): string {
  return status?.state === undefined ? kind : `${kind} ${status.state}`;
}

function flagsOf(line: readonly string[]): TargetFlags {
  const words = line.slice(0, -1);
  return {
    state: flagValue(words, '--state'),
    kubeconfig: flagValue(words, '--kubeconfig'),
    context: flagValue(words, '--context'),
    namespace: flagValue(words, '-n', '--namespace'),
    allNamespaces: words.some((word) => word === '-A' || word === '--all-namespaces'),
  };
}

async function contexts(line: readonly string[]): Promise<string[]> {
  const named = flagValue(line, '--kubeconfig');
  const texts = await Promise.all((named ? [named] : kubeconfigFiles()).map((file) => readFile(file, 'utf8').catch(() => '')));
  return texts.flatMap((text) => {
    const { contexts: known = [] } = (parse(text) ?? {}) as { contexts?: { name: string }[] };
    return known.map(({ name }) => name);
  });
}
