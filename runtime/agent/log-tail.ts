// Keeps the last lines of a process's output, for the failure report.
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';

const keptLines = 12;
const keptLineChars = 300;

export interface LogTail {
  text(): string;
}

/** Passes `source` on line by line to `forward` and remembers the newest lines. */
export function tailLines(source: Readable, forward: (line: string) => void, kept: string[] = []): LogTail {
  createInterface({ input: source }).on('line', (line) => {
    forward(line);
    kept.push(line.slice(0, keptLineChars));
    if (kept.length > keptLines) kept.shift();
  });
  return { text: () => kept.join('\n') };
}
