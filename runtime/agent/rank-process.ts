// One rank process: started with a channel to this agent, its output passed on, its messages checked.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { ExitCode } from '#runtime/api/exit-codes.ts';
import { RankMessage } from '#runtime/api/messages.ts';
import type { AgentMessage } from '#runtime/api/messages.ts';
import { tailLines } from './log-tail.ts';

export interface RankExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export class RankProcess {
  /** Resolves when the process has ended and its output is complete. */
  readonly exited: Promise<RankExit>;
  /** Newest lines of its output. */
  readonly logLines: string[] = [];
  readonly #child: ChildProcess;

  constructor(command: readonly string[], env: Record<string, string | undefined>, onMessage: (message: RankMessage) => void) {
    const [program = '', ...args] = command;
    const child = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
    this.#child = child;
    if (child.stdout) tailLines(child.stdout, (line) => process.stdout.write(`${line}\n`), this.logLines);
    if (child.stderr) tailLines(child.stderr, (line) => process.stderr.write(`${line}\n`), this.logLines);
    child.on('message', (raw) => {
      const parsed = RankMessage.safeParse(raw);
      if (parsed.success) onMessage(parsed.data);
    });
    this.exited = new Promise((resolve) => {
      child.on('error', (error) => {
        this.logLines.push(error.message);
        if (child.pid === undefined) resolve({ code: ExitCode.retryable, signal: null });
      });
      child.on('close', (code, signal) => resolve({ code, signal }));
    });
  }

  /** A process that has gone hears nothing more. */
  send(message: AgentMessage): void {
    if (this.#child.connected) this.#child.send(message, () => {});
  }

  /** Asks for a checkpoint and an end. */
  terminate(): void {
    this.#child.kill('SIGTERM');
  }

  /** Ends the process at once, even one that is stopped. Returns whether it still ran. */
  kill(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null && this.#child.kill('SIGKILL');
  }
}
