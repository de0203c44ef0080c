// The processes of a cluster: each with a log of its own, none outliving the process that started it.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

interface Running {
  readonly name: string;
  readonly child: ChildProcess;
  readonly ended: Promise<void>;
}

/**
 * The kernel kills the process when its parent dies in whatever way. One whose parent died before it could ask for that sees that it has
 * another parent by now.
 */
const lifeline = ['setpriv', '--pdeathsig', 'KILL', '--', 'sh', '-c', '[ "$PPID" = "$0" ] || exit 1; exec "$@"'];

export class Processes {
  readonly #logs: string;
  readonly #running: Running[] = [];
  readonly #failed = Promise.withResolvers<never>();
  #mayEnd: RegExp | undefined;
  #stopping = false;

  constructor(logs: string) {
    this.#logs = logs;
    mkdirSync(logs, { recursive: true });
    // Nobody may be waiting for it at the moment.
    this.#failed.promise.catch(() => undefined);
  }

  /** Rejects when one of the processes ends that nobody has stopped. */
  get failed(): Promise<never> {
    return this.#failed.promise;
  }

  /** From now on processes of these names may end: what lives on has to cope with it. */
  letEnd(names: RegExp): void {
    this.#mayEnd = names;
  }

  start(name: string, command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): ChildProcess {
    if (this.#stopping) throw new Error('stopped while it started');
    const log = openSync(join(this.#logs, `${name}.log`), 'a');
    const [first = '', ...rest] = [...lifeline, String(process.pid), command, ...args];
    const child = spawn(first, rest, { stdio: ['ignore', log, log], env: { ...process.env, ...env } });
    closeSync(log);
    const ended = new Promise<void>((done) => {
      child.once('error', (cause) => {
        this.#failed.reject(new Error(`${name} could not be started; install the package util-linux`, { cause }));
        done();
      });
      child.once('close', (code, signal) => {
        if (!this.#stopping && !this.#mayEnd?.test(name))
          this.#failed.reject(new Error(`${name} ended with ${code ?? signal}:\n${this.lastLines(name)}`));
        done();
      });
    });
    this.#running.push({ name, child, ended });
    return child;
  }

  /** The end of a log, for messages. */
  lastLines(name: string, count = 15): string {
    return readFileSync(join(this.#logs, `${name}.log`), 'utf8')
      .trimEnd()
      .split('\n')
      .slice(-count)
      .join('\n');
  }

  /** Ends all, the last started first, and returns when they are gone. */
  async stop(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    this.#stopping = true;
    for (const { child, ended } of this.#running.toReversed()) {
      child.kill(signal);
      if (signal !== 'SIGKILL') {
        const patience = setTimeout(() => child.kill('SIGKILL'), 5000);
        await ended;
        clearTimeout(patience);
      }
    }
    await Promise.all(this.#running.map(({ ended }) => ended));
  }
}
