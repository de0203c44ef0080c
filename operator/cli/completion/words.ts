// What a command line may go on with: words that are known here, or what has to be asked for. Pure.
import { InferenceService, Model, ModelVersion, TrainingJob } from '#crds/v1alpha1/index.ts';
import type { Resource } from '#crds/resource.ts';
import { kindNamed, kindWords } from '../target/references.ts';

export interface CommandWords {
  readonly name: string;
  readonly description: string;
  readonly options: readonly OptionWords[];
}

interface OptionWords {
  /** Short and long. */
  readonly flags: readonly string[];
  readonly takesValue: boolean;
  readonly choices?: readonly string[] | undefined;
}

/** What can follow: words, with what they mean; or names that only the target knows. */
export type Next =
  | { readonly words: readonly (readonly [word: string, meaning: string])[] }
  | { readonly names: readonly Resource[]; readonly kinds: boolean; readonly prefix: string }
  | { readonly ask: 'namespaces' | 'contexts' | 'files' };

/** Kinds whose names a command takes. */
const namesOf: Readonly<Record<string, readonly Resource[]>> = {
  status: [TrainingJob, InferenceService, Model, ModelVersion],
  get: [TrainingJob, InferenceService, Model, ModelVersion],
  report: [TrainingJob, InferenceService, Model, ModelVersion],
  logs: [TrainingJob, InferenceService],
  pause: [TrainingJob, InferenceService],
  resume: [TrainingJob, InferenceService],
  restart: [TrainingJob, InferenceService],
  chat: [InferenceService],
};

const askedFor: Readonly<Record<string, 'namespaces' | 'contexts'>> = {
  '-n': 'namespaces',
  '--namespace': 'namespaces',
  '--context': 'contexts',
};

/** Whether words of a command are to be asked for. */
export function completesNames({ name }: CommandWords): boolean {
  return name in namesOf || name === 'explain';
}

/** `line`: the words behind `windlass`, of which the last one is being written. `codes`: what `explain` explains. */
export function nextWords(line: readonly string[], commands: readonly CommandWords[], codes: readonly string[]): Next {
  const current = line.at(-1) ?? '';
  const before = line.slice(0, -1);
  const command = commands.find(({ name }) => name === (before[0] === 'get' ? 'status' : before[0]));
  if (before.length === 0) return { words: commands.map(({ name, description }) => [name, description]) };
  if (!command) return { words: [] };
  const last = before.at(-1) ?? '';
  const open = command.options.find(({ flags, takesValue }) => takesValue && flags.includes(last));
  if (open?.choices) return { words: open.choices.map((choice) => [choice, '']) };
  if (open) return { ask: askedFor[last] ?? 'files' };
  if (current.startsWith('-')) return { words: command.options.flatMap(({ flags }) => flags).map((flag) => [flag, '']) };
  if (command.name === 'explain') return { words: codes.map((code) => [code, '']) };
  const kinds = namesOf[command.name];
  if (!kinds) return { ask: 'files' };
  return namesFor(current, argumentsOf(before.slice(1), command), kinds);
}

function namesFor(current: string, given: readonly string[], kinds: readonly Resource[]): Next {
  const slash = current.indexOf('/');
  const kindOf = (text: string) => [kindNamed(text)].filter((kind) => kind !== undefined);
  if (slash >= 0) return { names: kindOf(current.slice(0, slash)), kinds: false, prefix: current.slice(0, slash + 1) };
  const [first] = given;
  if (first === undefined) return { names: kinds, kinds: kinds.length > 2, prefix: '' };
  return given.length === 1 && !first.includes('/') ? { names: kindOf(first), kinds: false, prefix: '' } : { words: [] };
}

/** Words that are neither flags nor their values. */
function argumentsOf(words: readonly string[], { options }: CommandWords): string[] {
  const takesNext = (word: string | undefined) =>
    word !== undefined && options.some(({ flags, takesValue }) => takesValue && flags.includes(word));
  return words.filter((word, index) => !word.startsWith('-') && !takesNext(words[index - 1]));
}

/** The value of a flag among words, as `--flag value` or `--flag=value`. */
export function flagValue(words: readonly string[], ...flags: readonly string[]): string | undefined {
  for (const [index, word] of words.entries()) {
    if (flags.includes(word)) return words[index + 1];
    const equal = flags.find((flag) => word.startsWith(`${flag}=`));
    if (equal) return word.slice(equal.length + 1);
  }
  return undefined;
}

/** Words that stand for kinds. */
export const kindCandidates: readonly string[] = kindWords();
