// A side of the parallel bench that is ours: its ranks as processes, each on its core, that take a step together when asked to.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Parallelism } from '#runtime/parallel/main.ts';
import type { CollectiveTime } from './collective-time.ts';
import { processes } from './parallel-setting.ts';
import type { ModelName, Side } from './parallel-setting.ts';
import { onCores } from './pinned.ts';
import type { OperationTime } from './torch-peer.ts';
import type { Step, Trainee } from './trainee.ts';

export interface RankOrder {
  readonly rank: number;
  readonly size: number;
  readonly name: string;
  readonly parallelism: Parallelism;
  readonly model: ModelName;
}

export type RankRequest = { readonly kind: 'step' | 'profile' } | { readonly kind: 'save'; readonly folder: string };

export interface RankAnswer extends Partial<RankStep> {
  readonly operations: readonly OperationTime[];
  readonly peakBytes: number;
}

interface RankStep extends Step {
  readonly collectives: CollectiveTime;
  readonly bytesSent: number;
}

export interface OurSide extends Trainee {
  /** What every step so far said of the collectives of rank 0. */
  readonly collectives: readonly CollectiveTime[];
  /** Payload bytes that rank 0 sent in the last step. */
  readonly bytesSent: number;
  /** Of the rank with the most. */
  peakBytes(): number;
  /** One more step with the time of every operation, of rank 0. */
  profile(): Promise<readonly OperationTime[]>;
  /** Writes the weights as a Hugging Face folder; of one process only. */
  save(folder: string): Promise<void>;
  close(): Promise<void>;
}

export async function startSide({ title, parallelism, threads }: Side, model: ModelName): Promise<OurSide> {
  const size = parallelism.dataReplicate * parallelism.dataShard;
  const allCores = Array.from({ length: processes }, (_, core) => core);
  const children = Array.from({ length: size }, (_, rank) =>
    startRank(size === 1 ? allCores : [rank], { ...process.env, WL_THREADS: String(threads) }),
  );
  const name = `bench ${process.pid} ${title}`;
  const ask = async <T>(message: (rank: number) => object): Promise<T[]> => {
    const answers = children.map((child) => answerOf<T>(child));
    for (const [rank, child] of children.entries()) child.send(message(rank));
    return await Promise.all(answers);
  };
  const endpoints = await ask<string>((rank) => ({ rank, size, name, parallelism, model }) satisfies RankOrder);
  await ask<string>(() => endpoints);
  const collectives: CollectiveTime[] = [];
  let [bytesSent, peakBytes] = [0, 0];
  const request = async (what: RankRequest): Promise<RankAnswer[]> => {
    const answers = await ask<RankAnswer>(() => what);
    peakBytes = Math.max(...answers.map((answer) => answer.peakBytes));
    return answers;
  };
  return {
    collectives,
    get bytesSent() {
      return bytesSent;
    },
    peakBytes: () => peakBytes,
    async step() {
      const steps = (await request({ kind: 'step' })) as (RankAnswer & RankStep)[];
      const [first] = steps;
      if (!first) throw new Error('internal: a side without ranks');
      collectives.push(first.collectives);
      ({ bytesSent } = first);
      return {
        loss: first.loss,
        seconds: Math.max(...steps.map(({ seconds }) => seconds)),
        cpuSeconds: steps.reduce((sum, { cpuSeconds }) => sum + cpuSeconds, 0),
      };
    },
    profile: async () => (await request({ kind: 'profile' }))[0]?.operations ?? [],
    async save(folder) {
      await request({ kind: 'save', folder });
    },
    async close() {
      await Promise.all(
        children.map(async (child) => {
          if (child.exitCode !== null || child.signalCode !== null) return;
          const ended = once(child, 'close');
          child.kill('SIGKILL');
          await ended;
        }),
      );
    },
  };
}

function startRank(cores: readonly number[], env: NodeJS.ProcessEnv): ChildProcess {
  const [command, args] = onCores(cores, process.execPath, [join(import.meta.dirname, 'parallel-rank.ts')]);
  return spawn(command, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], env });
}

async function answerOf<T>(child: ChildProcess): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const onDisconnect = () => reject(new Error('a rank ended; what it printed stands above'));
  child.once('message', resolve as (message: unknown) => void);
  child.once('disconnect', onDisconnect);
  try {
    return await promise;
  } finally {
    child.removeListener('disconnect', onDisconnect);
  }
}
