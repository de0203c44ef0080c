// `windlass explain`: cause and remedy of an error code, an exit code, a state or a reason. Pure.
import { endings, refusals, troubles, verdicts } from '#operator/controllers/reasons.ts';
import { errorTable, isErrorCode, WindlassError } from '#runtime/api/errors.ts';
import type { ErrorCode } from '#runtime/api/errors.ts';
import { ExitCode } from '#runtime/api/exit-codes.ts';
import { wrap } from '../format.ts';
import { nearest } from './nearest.ts';
import { systemExits, terms } from './terms.ts';
import type { Term } from './terms.ts';

/** All words but codes. */
const words: Readonly<Record<string, Term>> = {
  ...terms,
  ...Object.fromEntries(
    [troubles, refusals, endings, verdicts]
      .flatMap((table) => Object.entries(table))
      .map(([reason, { cause, remedy }]): [string, Term] => [reason, { means: cause, advice: remedy }]),
  ),
};

/** What the exit codes of our processes mean. */
const ownExits: Record<keyof typeof ExitCode, Term> = {
  done: { means: 'The process finished its work.' },
  userError: {
    means:
      'The job can not work as it is written: a bad field, a missing file, empty data, a loss that is not a number. It fails at once.',
    advice: 'The code beside it says what to mend.',
  },
  retryable: { means: 'A fault that may pass: a full disk, a busy port. It is tried again, within faults.maxRestarts.' },
  rankLost: { means: 'A rank of the pod died or lost its peers. It is tried again, within faults.maxRestarts.' },
  dataCorrupt: { means: 'Checksums say that stored bytes changed. The last good checkpoint is used.' },
  deviceLost: {
    means: 'The compute core failed for good, and the process had to end.',
    advice: 'If it repeats, check the machine.',
  },
  preempted: { means: 'Stopped on request after its state was saved. It counts against no budget.' },
  follow: { means: 'Ended because of another pod of the job, which names the cause.' },
};

/** The text about `word`, in lines of at most `width` columns. Throws WL_USAGE with the nearest words if it is unknown. */
export function explain(word: string, width: number): string {
  const code = codeNamed(word);
  if (code) {
    const { cause, remedy, exit } = errorTable[code];
    return page(`${code}, exit code ${ExitCode[exit]}`, { means: cause, advice: remedy }, width);
  }
  const name = Object.keys(words).find((term) => term.toLowerCase() === word.toLowerCase());
  if (name !== undefined) return page(name, words[name]!, width);
  const exit = /^\d{1,3}$/.test(word) ? exitText(Number(word), width) : undefined;
  if (exit !== undefined) return exit;
  const near = nearest(word, explainable());
  const hint =
    near.length > 0 ? `did you mean ${near.join(', ')}?` : 'codes look like WL_DATA_EMPTY, and reasons like MaxRestartsReached';
  throw new WindlassError('WL_USAGE', `nothing is known about ${word}; ${hint}`);
}

/** All words, in the order of the alphabet. */
export function explainable(): string[] {
  return [...Object.keys(errorTable), ...Object.keys(words)].toSorted();
}

/** The code that stands for `word`: WL_DATA_EMPTY, data_empty, or DataEmpty as conditions write it. */
function codeNamed(word: string): ErrorCode | undefined {
  const snake = /^[A-Z][a-z]/.test(word) ? word.replaceAll(/(?<=[a-z])(?=[A-Z])/g, '_') : word;
  const code = `WL_${snake.toUpperCase().replace(/^WL_/, '')}`;
  return isErrorCode(code) ? code : undefined;
}

/** Codes of the table that occur in a text, in the order of the alphabet. */
export function codesIn(text: string): ErrorCode[] {
  return [...new Set(text.match(/\bWL_[A-Z_]+\b/g) ?? [])].filter(isErrorCode).toSorted();
}

function exitText(number: number, width: number): string | undefined {
  const own = (Object.keys(ExitCode) as (keyof typeof ExitCode)[]).find((key) => ExitCode[key] === number);
  if (own) return page(`exit code ${number} (${own})`, ownExits[own], width);
  const system = systemExits[number];
  if (system) return page(`exit code ${number}`, system, width);
  if (number > 128 && number <= 192) return page(`exit code ${number}`, { means: `Ended by signal ${number - 128}.` }, width);
  return undefined;
}

function page(title: string, { means, advice }: Term, width: number): string {
  const indented = (text: string) => wrap(text, width - 2).map((line) => `  ${line}\n`);
  return [`${title}\n`, ...indented(means), ...(advice === undefined ? [] : indented(`What to do: ${advice}`))].join('');
}
