// The other side of the comparison: train_torch.py as a child process that takes a step when asked to.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { onCores } from './pinned.ts';
import { fixedTokens, setting } from './trainee.ts';
import type { GptSetting, Trainee } from './trainee.ts';

export interface OperationTime {
  readonly op: string;
  readonly calls: number;
  readonly milliseconds: number;
}

export interface TorchPeer extends Trainee {
  /** Versions and settings in words. */
  readonly description: string;
  peakBytes(): Promise<number>;
  /** Takes one more step and gives the time of every operation. */
  profile(): Promise<OperationTime[]>;
  close(): Promise<void>;
}

/** Environment that keeps PyTorch and its libraries to the instruction set that we use. */
const caps: Readonly<Record<string, Record<string, string>>> = {
  avx512: {},
  avx2: { ATEN_CPU_CAPABILITY: 'avx2', ONEDNN_MAX_CPU_ISA: 'AVX2', MKL_ENABLE_INSTRUCTIONS: 'AVX2' },
};

interface Machine {
  readonly isa: string;
  readonly threads: number;
}

/** One of several processes that train together (DDP over Gloo), each with its share of the sequences, on a core of its own. */
interface TorchRank {
  readonly rank: number;
  readonly size: number;
}

/** Puts the tokens and the setting into `folder`, where `startTorch` expects them beside the weights. */
export async function prepareTorch(folder: string, threads: number, of: GptSetting = setting): Promise<void> {
  await writeFile(join(folder, 'tokens.bin'), fixedTokens(of));
  await writeFile(join(folder, 'setting.json'), JSON.stringify({ ...of, threads }));
}

/** Starts from what `folder` holds. Throws where PyTorch cannot be kept to `isa`. With `place`, resolves once all ranks have started. */
export async function startTorch(
  python: string,
  folder: string,
  { isa, threads }: Machine,
  place?: TorchRank,
): Promise<TorchPeer> {
  const cap = caps[isa];
  if (!cap) throw new Error(`PyTorch cannot be kept to ${isa}; compare with ${Object.keys(caps).join(' or ')}`);
  const args = [join(import.meta.dirname, 'train_torch.py'), folder];
  const child = spawn(...(place ? onCores([place.rank], python, args) : ([python, args] as const)), {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: {
      ...process.env,
      ...cap,
      OMP_NUM_THREADS: String(threads),
      MKL_NUM_THREADS: String(threads),
      ...(place ? { RANK: String(place.rank), WORLD_SIZE: String(place.size), GLOO_SOCKET_IFNAME: 'lo' } : {}),
    },
  });
  const ended = once(child, 'close');
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const answer = async <T>(): Promise<T> => {
    const line = await lines.next();
    if (line.done) throw new Error(`${python} ended; what it printed stands above`);
    return JSON.parse(line.value) as T;
  };
  const ask = <T>(command: string): Promise<T> => {
    child.stdin.write(`${command}\n`);
    return answer<T>();
  };
  const { description } = await answer<{ description: string }>();
  return {
    description,
    step: () => ask('step'),
    peakBytes: async () => (await ask<{ peakBytes: number }>('memory')).peakBytes,
    profile: async () => (await ask<{ operations: OperationTime[] }>('profile')).operations,
    async close() {
      child.stdin.end();
      await ended;
    },
  };
}
