// A child process that is asked line by line and answers line by line, in JSON.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { endWithBench } from './end-with-bench.ts';

export interface LineProcess {
  /** The next answer, to the oldest request that has none yet; the first may come unasked. */
  answer<T>(): Promise<T>;
  ask<T>(request: string): Promise<T>;
  close(): Promise<void>;
}

export function startLines(command: string, args: readonly string[], env: NodeJS.ProcessEnv): LineProcess {
  const child = endWithBench(spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'], env }));
  const ended = once(child, 'close');
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const answer = async <T>(): Promise<T> => {
    const line = await lines.next();
    if (line.done) throw new Error(`${command} ended; what it printed stands above`);
    return JSON.parse(line.value) as T;
  };
  return {
    answer,
    ask<T>(request: string): Promise<T> {
      child.stdin.write(`${request}\n`);
      return answer<T>();
    },
    async close() {
      child.stdin.end();
      await ended;
    },
  };
}
