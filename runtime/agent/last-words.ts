// The last words of a container: why it ended, in at most the 4,096 bytes that Kubernetes keeps.
import { writeFile } from 'node:fs/promises';
import { ExitCode } from '#runtime/api/exit-codes.ts';
import type { Progress, TerminationMessage } from '#runtime/api/messages.ts';
import type { End, Session } from './session.ts';

const maxBytes = 4096;

/** Why the pod ended: what the rendezvous says of it, or else what its own rank said. */
export function lastWords(
  end: End,
  last: Pick<Session['last'], 'rank' | 'ending' | 'failure' | 'published' | 'logLines'>,
  progress: Progress | undefined,
): TerminationMessage {
  const { rank, ending, failure, published } = last;
  const common = {
    ...(progress ? { progress } : {}),
    ...(end.restarts > 0 ? { restarts: end.restarts } : {}),
    ...(end.rule === undefined ? {} : { rule: end.rule }),
  };
  if (end.exitCode === ExitCode.done) return { ...common, ...(published ? { published } : {}) };
  if (end.words)
    return { ...common, rank, ...end.words, ...(end.exitCode === ExitCode.follow ? {} : { logTail: last.logLines.join('\n') }) };
  if (end.exitCode === ExitCode.preempted && !failure)
    return { ...common, rank, message: `rank ${rank} was stopped and saved its state` };
  const silent = ending?.signal
    ? `rank ${rank} was ended by ${ending.signal}`
    : `rank ${rank} ended with code ${ending?.exitCode} and said nothing`;
  const bySignal = ending?.signal === undefined ? {} : { signal: ending.signal };
  return { ...common, rank, message: silent, ...bySignal, ...failure, logTail: last.logLines.join('\n') };
}

/** JSON of `message` in at most 4,096 bytes; the log tail gives way first (its oldest lines), then the message text. */
export function fitTerminationMessage(message: TerminationMessage): string {
  let fitted = message;
  for (;;) {
    const text = JSON.stringify(fitted);
    if (Buffer.byteLength(text) <= maxBytes) return text;
    if (fitted.logTail)
      fitted = {
        ...fitted,
        logTail: fitted.logTail.includes('\n') ? fitted.logTail.slice(fitted.logTail.indexOf('\n') + 1) : '',
      };
    else if (fitted.progress?.sample) fitted = { ...fitted, progress: { ...fitted.progress, sample: undefined } };
    else if (fitted.message) fitted = { ...fitted, message: fitted.message.slice(0, fitted.message.length >> 1) };
    else return JSON.stringify({ message: 'the last words were too long to be kept' } satisfies TerminationMessage);
  }
}

/** Writes the last words; a pod without a termination log ends all the same. */
export async function writeLastWords(path: string, message: TerminationMessage): Promise<void> {
  await writeFile(path, fitTerminationMessage(message)).catch(() => {});
}
