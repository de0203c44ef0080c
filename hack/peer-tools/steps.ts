// Runs the commands that set a peer up: their output goes to a log, of which an error shows the end.
import { spawn } from 'node:child_process';
import { createWriteStream, mkdirSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { createInterface } from 'node:readline';

export type Say = (line: string) => void;

export interface StepOptions {
  /** Path of the file that the output goes to. */
  readonly log: string;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Told each line of the output. */
  readonly onLine?: (line: string) => void;
}

const shownLines = 20;

/** Runs a command to its end. Throws what it printed last where it fails, or that it is not there. */
export async function step(command: string, args: readonly string[], { log, cwd, env, onLine }: StepOptions): Promise<void> {
  mkdirSync(dirname(log), { recursive: true });
  const output = createWriteStream(log);
  const child = spawn(command, args, { cwd, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  const follow = async (stream: NodeJS.ReadableStream) => {
    for await (const line of createInterface({ input: stream })) {
      output.write(`${line}\n`);
      onLine?.(line);
    }
  };
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', ({ message }) =>
      reject(new Error(`${command} could not be started: ${message}; install it and run again`)),
    );
    child.once('close', resolve);
  });
  const [code] = await Promise.all([ended, follow(child.stdout), follow(child.stderr)]);
  await new Promise<void>((done) => output.end(done));
  if (code === 0) return;
  const tail = readFileSync(log, 'utf8').trimEnd().split('\n').slice(-shownLines).join('\n');
  throw new Error(`${command} ended with ${code}:\n${tail}\nAll of it is in ${log}.`);
}

/** Tells of ninja's progress, `[12/218] ...`, at each tenth of it. */
export function tenths(what: string, say: Say): (line: string) => void {
  let told = 0;
  return (line) => {
    const [, done, all] = /^\[(\d+)\/(\d+)\]/.exec(line) ?? [];
    const tenth = Math.floor((10 * Number(done)) / Number(all));
    if (!(tenth > told)) return;
    told = tenth;
    say(`${what}: ${10 * tenth} %`);
  };
}
