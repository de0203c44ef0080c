// The last words of a container: why it ended, in at most the 4,096 bytes that Kubernetes keeps.
import { writeFile } from 'node:fs/promises';
import type { TerminationMessage } from '#runtime/api/messages.ts';

const maxBytes = 4096;

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
