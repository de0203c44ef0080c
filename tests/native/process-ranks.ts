// Ranks as processes of this machine, which find each other over shared memory or TCP.
import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import type { Parallelism } from '#runtime/parallel/main.ts';
import type { Setting } from './ranks.ts';

export interface RankOrder {
  readonly rank: number;
  readonly name: string;
  readonly parallelism: Parallelism;
  readonly setting: Setting;
  readonly steps: number;
  readonly transport: 'auto' | 'shm' | 'tcp';
  readonly tls: boolean;
  /** IP address to listen on. */
  readonly address: string | undefined;
  readonly deadlineMs: number;
}

export interface RankOutcome {
  readonly losses: number[];
  readonly secondsPerStep: number[];
  /** Bytes that the rank sent in the last step. */
  readonly bytesSent: number;
  /** Bytes of tensors after the last step; of what kernels and the allocator keep beside them; the most of both at any time. */
  readonly stateBytes: number;
  readonly scratchBytes: number;
  readonly peakBytes: number;
  /** Of all weights, from rank 0. */
  readonly digest?: string;
  readonly error?: string;
  /** Time of day of the error, in ms. */
  readonly failedAt?: number;
}

export interface ProcessRun {
  readonly parallelism: Parallelism;
  readonly setting: Setting;
  readonly steps: number;
  readonly transport?: RankOrder['transport'];
  readonly tls?: boolean;
  /** Where each rank listens; loopback for TCP if absent. */
  readonly addresses?: readonly string[];
  readonly deadlineMs?: number;
  /** Threads of each rank. */
  readonly threads?: number;
  /** Told of the processes once they train; the run fails if what it does fails. */
  readonly onStart?: (children: readonly ChildProcess[]) => void | Promise<void>;
  /** Command that each rank is started with, such as one that enters a network namespace. */
  readonly execPath?: (rank: number) => string;
}

let runs = 0;

/** Trains with one process per rank; resolves to what each said, or undefined for one that ended without a word. */
export async function runProcesses(run: ProcessRun): Promise<(RankOutcome | undefined)[]> {
  const { parallelism, setting, steps, transport = 'auto', tls = false, deadlineMs = 20_000, threads = 1 } = run;
  const { dataReplicate, dataShard, tensor, pipeline } = parallelism;
  const size = dataReplicate * dataShard * tensor * pipeline;
  const name = `processes ${process.pid} ${(runs += 1)}`;
  const children = Array.from({ length: size }, (_, rank) =>
    fork(join(import.meta.dirname, 'process-rank.ts'), [], {
      execArgv: [],
      env: { ...process.env, WL_THREADS: String(threads) },
      ...(run.execPath ? { execPath: run.execPath(rank) } : {}),
    }),
  );
  const next = (child: ChildProcess) =>
    new Promise<unknown>((resolve) => {
      child.once('message', resolve);
      // After the last message, unlike `exit`.
      child.once('disconnect', () => resolve(undefined));
    });
  try {
    const listening = children.map(next);
    for (const [rank, child] of children.entries()) {
      const address = run.addresses?.[rank] ?? (transport === 'tcp' ? '127.0.0.1' : undefined);
      child.send({ rank, name, parallelism, setting, steps, transport, tls, address, deadlineMs } satisfies RankOrder);
    }
    const endpoints = (await Promise.all(listening)) as string[];
    const outcomes = children.map(next);
    for (const child of children) child.send(endpoints);
    const said = Promise.all(outcomes) as Promise<(RankOutcome | undefined)[]>;
    const started = Promise.resolve(run.onStart?.(children));
    return await Promise.race([said, started.then(() => said)]);
  } finally {
    for (const child of children) child.kill('SIGKILL');
  }
}
