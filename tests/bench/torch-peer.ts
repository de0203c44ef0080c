// The other side of the comparison: train_torch.py as a child process that takes a step when asked to.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Precision } from '#runtime/tensor/main.ts';
import { startLines } from './line-process.ts';
import { onCores } from './pinned.ts';
import { torchEnvironment } from './torch-environment.ts';
import { fixedTokens } from './trainee.ts';
import type { GptSetting, Trainee } from './trainee.ts';

export interface OperationTime {
  readonly op: string;
  readonly calls: number;
  readonly milliseconds: number;
}

export interface TorchPeer extends Trainee {
  /** Versions and settings in words. */
  readonly description: string;
  readonly version: string;
  peakBytes(): Promise<number>;
  /** Takes one more step and gives the time of every operation. */
  profile(): Promise<OperationTime[]>;
  close(): Promise<void>;
}

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
export async function prepareTorch(
  folder: string,
  threads: number,
  of: GptSetting & { readonly precision?: Precision },
): Promise<void> {
  await writeFile(join(folder, 'tokens.bin'), fixedTokens(of));
  await writeFile(join(folder, 'setting.json'), JSON.stringify({ ...of, threads }));
}

/** How PyTorch is run: its defaults, with jemalloc and huge pages, or compiled as well. */
export interface TorchSetting {
  /** Path of the library to preload. */
  readonly jemalloc?: string | undefined;
  readonly compile?: boolean;
}

/** Starts from what `folder` holds. Throws where PyTorch cannot be kept to `isa`. With `place`, resolves once all ranks have started. */
export async function startTorch(
  python: string,
  folder: string,
  { isa, threads }: Machine,
  { place, jemalloc, compile = false }: TorchSetting & { readonly place?: TorchRank } = {},
): Promise<TorchPeer> {
  const args = [join(import.meta.dirname, 'train_torch.py'), folder];
  const [command, commandArgs] = place ? onCores([place.rank], python, args) : [python, args];
  const lines = startLines(command, commandArgs, {
    ...torchEnvironment(isa, threads, jemalloc),
    ...(compile ? { TORCH_COMPILE: '1' } : {}),
    ...(place ? { RANK: String(place.rank), WORLD_SIZE: String(place.size), GLOO_SOCKET_IFNAME: 'lo' } : {}),
  });
  const { description, version } = await lines.answer<{ description: string; version: string }>();
  return {
    description,
    version,
    step: () => lines.ask('step'),
    peakBytes: async () => (await lines.ask<{ peakBytes: number }>('memory')).peakBytes,
    profile: async () => (await lines.ask<{ operations: OperationTime[] }>('profile')).operations,
    close: () => lines.close(),
  };
}
