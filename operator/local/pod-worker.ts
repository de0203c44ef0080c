// One pod on this machine: its folders, its container as a process, restarts, probes, and what goes into its status.
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Container, ContainerState, ContainerStatus, Pod, PodStatus, Probe } from '#operator/kube/core.ts';
import { sleep, systemClock } from '#operator/kube/clock.ts';
import { ContainerProcess } from './container-process.ts';
import type { ContainerExit } from './container-process.ts';
import { recordProcess } from './leftovers.ts';
import { watchProbe } from './probe.ts';
import { mountVolumes } from './volumes.ts';

export interface PodWorkerOptions {
  readonly stateDir: string;
  readonly podIP: string;
  readonly windlassCommand: readonly string[];
  /** Folder that relative paths of containers count from. */
  readonly workingDir: string;
  /** Added to the container's environment where it does not set them itself. */
  readonly nodeEnv: Readonly<Record<string, string>>;
  /** Values of a Secret of the pod's namespace, in base64. */
  readonly secret?: (name: string) => Promise<Readonly<Record<string, string>> | undefined>;
  /** Called for each change, one at a time. Must not throw. */
  readonly writeStatus: (status: PodStatus) => Promise<void>;
}

const firstBackOffMs = 1_000;
const longestBackOffMs = 30_000;
/** A container that ran this long starts over with the shortest back-off. */
const healthyMs = 60_000;
const defaultGraceSeconds = 30;
const maxTerminationBytes = 4096;

export class PodWorker {
  readonly #pod: Pod;
  readonly #container: Container;
  readonly #options: PodWorkerOptions;
  readonly #stopping = new AbortController();
  readonly #status: ContainerStatus;
  #process: ContainerProcess | undefined;
  #writing: Promise<void> = Promise.resolve();
  #startTime: string | undefined;
  #graceMs: number;

  constructor(pod: Pod, options: PodWorkerOptions) {
    const [container] = pod.spec.containers;
    if (!container) throw new Error(`internal: pod ${pod.metadata.name} has no container`);
    this.#pod = pod;
    this.#container = container;
    this.#options = options;
    this.#graceMs = (pod.spec.terminationGracePeriodSeconds ?? defaultGraceSeconds) * 1000;
    this.#status = { name: container.name, ready: false, restartCount: 0 };
  }

  /**
   * Runs the pod until its container has ended for good or `stop` is called. `finished`: it ended by itself, or completed; `stopped`: it has
   * work left.
   */
  async run(): Promise<'finished' | 'stopped'> {
    const { name, uid = name } = this.#pod.metadata;
    const podDir = join(this.#options.stateDir, 'pods', uid);
    try {
      return await this.#runIn(podDir);
    } finally {
      await rm(podDir, { recursive: true, force: true });
    }
  }

  async #runIn(podDir: string): Promise<'finished' | 'stopped'> {
    const { stateDir, secret } = this.#options;
    const { namespace = 'default' } = this.#pod.metadata;
    const volumeMounts = this.#container.volumeMounts ?? [];
    const mounts = await mountVolumes(
      { stateDir, namespace, podDir, ...(secret ? { secret } : {}) },
      this.#pod.spec.volumes ?? [],
      volumeMounts,
    );
    await mkdir(podDir, { recursive: true });
    const terminationLog = join(podDir, 'termination-log');
    let backOffMs = firstBackOffMs;
    while (!this.#stopping.signal.aborted) {
      await rm(terminationLog, { force: true });
      const process = await ContainerProcess.start({
        command: [...this.#container.command, ...(this.#container.args ?? [])],
        env: this.#environment(),
        nodeEnv: { ...this.#options.nodeEnv, WL_TERMINATION_LOG: terminationLog },
        mounts,
        logPath: logPathOf(stateDir, this.#pod, this.#container.name),
        workingDir: this.#options.workingDir,
        windlassCommand: this.#options.windlassCommand,
      });
      this.#process = process;
      if (process.pid !== undefined) await recordProcess(podDir, process.pid);
      this.#startTime ??= process.startedAt.toISOString();
      const probes = new AbortController();
      await this.#tell('Running', { running: { startedAt: process.startedAt.toISOString() } }, !this.#container.readinessProbe);
      if (this.#stopping.signal.aborted) void process.stop(this.#graceMs);
      const probing = this.#probe(process, probes.signal);
      const exit = await process.exited;
      probes.abort();
      await probing;
      const terminated = await terminatedState(exit, process, terminationLog);
      const again = !this.#stopping.signal.aborted && restarts(this.#pod, exit);
      if (!again) {
        await this.#tell(exit.exitCode === 0 ? 'Succeeded' : 'Failed', { terminated }, false);
        const completed = exit.exitCode === 0 && this.#pod.spec.restartPolicy !== 'Always';
        return completed || !this.#stopping.signal.aborted ? 'finished' : 'stopped';
      }
      if (exit.finishedAt.getTime() - process.startedAt.getTime() > healthyMs) backOffMs = firstBackOffMs;
      this.#status.restartCount += 1;
      this.#status.lastState = { terminated };
      await this.#tell(
        'Running',
        { waiting: { reason: 'CrashLoopBackOff', message: `restarts in ${backOffMs / 1000} s` } },
        false,
      );
      await sleep(systemClock, backOffMs, this.#stopping.signal);
      backOffMs = Math.min(backOffMs * 2, longestBackOffMs);
    }
    return 'stopped';
  }

  /** Ends the container in its grace time, that of the pod unless given; `run` returns then. */
  stop(graceSeconds?: number): void {
    if (graceSeconds !== undefined) this.#graceMs = graceSeconds * 1000;
    this.#stopping.abort();
    void this.#process?.stop(this.#graceMs);
  }

  /** Ends the container as `stop` does, because all of this machine ends: nobody has to be sent elsewhere first. */
  shutDown(): void {
    this.#process?.tellShutDown();
    this.stop();
  }

  #environment(): Record<string, string> {
    const fields: Record<string, string | undefined> = {
      'status.podIP': this.#options.podIP,
      'metadata.name': this.#pod.metadata.name,
      'metadata.namespace': this.#pod.metadata.namespace,
    };
    const variables = this.#container.env ?? [];
    return Object.fromEntries(
      variables.map(({ name, value, valueFrom }) => [name, value ?? fields[valueFrom?.fieldRef.fieldPath ?? ''] ?? '']),
    );
  }

  async #probe(process: ContainerProcess, signal: AbortSignal): Promise<void> {
    const { startupProbe, readinessProbe, livenessProbe } = this.#container;
    if (startupProbe) await this.#waitForStart(startupProbe, process, signal);
    const running = { running: { startedAt: process.startedAt.toISOString() } };
    const watching = (probe: Probe | undefined, tell: (passes: boolean) => void) =>
      probe ? watchProbe(probe, this.#options.podIP, this.#portOf(probe), signal, tell) : Promise.resolve();
    await Promise.all([
      watching(readinessProbe, (ready) => void this.#tell('Running', running, ready)),
      watching(livenessProbe, (alive) => {
        if (!alive) void process.stop(this.#graceMs);
      }),
    ]);
  }

  async #waitForStart(probe: Probe, process: ContainerProcess, signal: AbortSignal): Promise<void> {
    const done = new AbortController();
    const end = () => done.abort();
    signal.addEventListener('abort', end);
    await watchProbe(probe, this.#options.podIP, this.#portOf(probe), done.signal, (started) => {
      if (!started) void process.stop(this.#graceMs);
      end();
    });
    signal.removeEventListener('abort', end);
  }

  #portOf(probe: Probe): number {
    const { port } = probe.httpGet;
    return typeof port === 'number' ? port : (this.#container.ports?.find(({ name }) => name === port)?.containerPort ?? 0);
  }

  #tell(phase: NonNullable<PodStatus['phase']>, state: ContainerState, ready: boolean): Promise<void> {
    Object.assign(this.#status, { state, ready, started: state.running !== undefined });
    const status: PodStatus = {
      phase,
      podIP: this.#options.podIP,
      hostIP: '127.0.0.1',
      ...(this.#startTime ? { startTime: this.#startTime } : {}),
      conditions: [
        { type: 'PodScheduled', status: 'True' },
        { type: 'Ready', status: ready ? 'True' : 'False' },
      ],
      containerStatuses: [structuredClone(this.#status)],
    };
    this.#writing = this.#writing.then(() => this.#options.writeStatus(status));
    return this.#writing;
  }
}

/** Where a container's output goes. */
function logPathOf(stateDir: string, pod: Pod, container: string): string {
  return join(stateDir, 'logs', pod.metadata.namespace ?? 'default', pod.metadata.name, `${container}.log`);
}

function restarts(pod: Pod, exit: ContainerExit): boolean {
  return pod.spec.restartPolicy === 'Always' || (pod.spec.restartPolicy === 'OnFailure' && exit.exitCode !== 0);
}

async function terminatedState(
  exit: ContainerExit,
  process: ContainerProcess,
  terminationLog: string,
): Promise<NonNullable<ContainerState['terminated']>> {
  const message = await readFile(terminationLog, 'utf8').catch(() => '');
  return {
    exitCode: exit.exitCode,
    ...(exit.signal ? { signal: exit.exitCode - 128 } : {}),
    reason: exit.exitCode === 0 ? 'Completed' : 'Error',
    ...(message ? { message: Buffer.from(message).subarray(0, maxTerminationBytes).toString() } : {}),
    startedAt: process.startedAt.toISOString(),
    finishedAt: exit.finishedAt.toISOString(),
  };
}
