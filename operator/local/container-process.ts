// Runs one container of a pod as a process: command, environment, log file, stop with grace. Knows nothing of the API.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { shutDownMessage } from '#runtime/api/environment.ts';
import { signalGroup } from './leftovers.ts';
import { openLogFile } from './log-file.ts';
import { rewritePath } from './volumes.ts';
import type { Mount } from './volumes.ts';

export interface ContainerSpec {
  readonly command: readonly string[];
  /** As the pod says; paths below a mount are rewritten. */
  readonly env: Readonly<Record<string, string>>;
  /** What this machine adds where the pod says nothing; paths are real ones. */
  readonly nodeEnv: Readonly<Record<string, string>>;
  readonly mounts: readonly Mount[];
  readonly logPath: string;
  readonly workingDir: string;
  /** What `windlass` in a command stands for: the image is this checkout. */
  readonly windlassCommand: readonly string[];
}

export interface ContainerExit {
  readonly exitCode: number;
  readonly signal?: NodeJS.Signals;
  readonly finishedAt: Date;
}

/** The number that a shell and Kubernetes give to a death by signal: 128 + signal. */
const signalNumbers: Partial<Record<NodeJS.Signals, number>> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGABRT: 6,
  SIGKILL: 9,
  SIGSEGV: 11,
  SIGTERM: 15,
};

/** How this machine reaches servers, and whom it trusts. */
const networkVariables = [
  'HTTP_PROXY',
  'HTTPS_PROXY',
  'NO_PROXY',
  'http_proxy',
  'https_proxy',
  'no_proxy',
  'NODE_EXTRA_CA_CERTS',
];

/** What a container inherits from this process besides its own environment. */
const inheritedVariables = [
  'PATH',
  'HOME',
  'LANG',
  'TMPDIR',
  'WL_ISA',
  'WL_THREADS',
  'WL_MEMORY_LIMIT',
  'NODE_COMPILE_CACHE',
  ...networkVariables,
];

export class ContainerProcess {
  readonly startedAt = new Date();
  /** Resolves when the process has ended and its log is complete. */
  readonly exited: Promise<ContainerExit>;
  readonly #child: ChildProcess;
  #killAt = Infinity;
  #killTimer: NodeJS.Timeout | undefined;

  private constructor(child: ChildProcess, exited: Promise<ContainerExit>) {
    this.#child = child;
    this.exited = exited;
  }

  /** Starts the process. A command that can't be started counts as an exit with code 127, as in a shell. */
  static async start(spec: ContainerSpec): Promise<ContainerProcess> {
    await mkdir(dirname(spec.logPath), { recursive: true });
    const log = openLogFile(spec.logPath);
    // A log that can't be written must not end what it tells about.
    log.on('error', () => child.stdout?.resume() && child.stderr?.resume());
    const words = spec.command.map((word) => rewritePath(word, spec.mounts));
    const [command = '', ...args] = words[0] === 'windlass' ? [...spec.windlassCommand, ...words.slice(1)] : words;
    const own = Object.fromEntries(Object.entries(spec.env).map(([name, value]) => [name, rewritePath(value, spec.mounts)]));
    const inherited = Object.fromEntries(
      inheritedVariables.map((name) => [name, process.env[name]]).filter(([, value]) => value !== undefined),
    );
    // A session of its own: Ctrl-C in the terminal reaches us only, and we end our containers in order. The IPC channel is a lifeline: our
    // children end themselves when it breaks, so none outlives a killed kubelet.
    const child = spawn(command, args, {
      detached: true,
      cwd: spec.workingDir,
      env: { ...inherited, ...spec.nodeEnv, ...own },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    child.stdout?.pipe(log, { end: false });
    child.stderr?.pipe(log, { end: false });
    const exited = new Promise<ContainerExit>((resolve) => {
      const end = (exit: ContainerExit) => {
        log.once('close', () => resolve(exit));
        if (log.destroyed) resolve(exit);
        else log.end();
      };
      // What the main process of a container started goes with it.
      child.on('exit', () => child.pid !== undefined && signalGroup(child.pid, 'SIGKILL'));
      child.on('error', (error) => {
        log.write(`${error.message}\n`);
        if (child.pid === undefined) end({ exitCode: 127, finishedAt: new Date() });
      });
      child.on('close', (code, signal) => {
        if (child.pid === undefined) return;
        const exitCode = code ?? 128 + (signal ? (signalNumbers[signal] ?? 0) : 0);
        end({ exitCode, ...(signal ? { signal } : {}), finishedAt: new Date() });
      });
    });
    return new ContainerProcess(child, exited);
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Tells the process, if it listens, that all of this machine ends. */
  tellShutDown(): void {
    // The callback takes the error of a process that is going already.
    if (this.#child.connected) this.#child.send(shutDownMessage, () => {});
  }

  /** SIGTERM now, SIGKILL after the grace time; a later call may shorten it. Resolves when the process has ended. */
  async stop(graceMs: number): Promise<ContainerExit> {
    const deadline = performance.now() + graceMs;
    if (deadline < this.#killAt) {
      if (this.#killAt === Infinity) this.#child.kill('SIGTERM');
      this.#killAt = deadline;
      clearTimeout(this.#killTimer);
      this.#killTimer = setTimeout(() => this.#child.kill('SIGKILL'), graceMs);
    }
    const exit = await this.exited;
    clearTimeout(this.#killTimer);
    return exit;
  }
}
