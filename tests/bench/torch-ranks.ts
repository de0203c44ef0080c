// Several processes of PyTorch that train together, as one side of a comparison.
import * as kernels from '#kernels/binding.ts';
import { prepareTorch, startTorch } from './torch-peer.ts';
import type { TorchPeer } from './torch-peer.ts';
import type { GptSetting } from './trainee.ts';

/** DDP over Gloo, `size` processes with one thread each, from the weights in `folder`. */
export async function startTorchRanks(python: string, folder: string, of: GptSetting, size: number): Promise<TorchPeer> {
  await prepareTorch(folder, 1, of);
  const machine = { isa: kernels.isa(), threads: 1 };
  const ranks = await Promise.all(
    Array.from({ length: size }, (_, rank) => startTorch(python, folder, machine, { place: { rank, size } })),
  );
  const ofAll = <T>(ask: (rank: TorchPeer) => Promise<T>) => Promise.all(ranks.map(ask));
  return {
    description: ranks[0]?.description ?? '',
    version: ranks[0]?.version ?? '',
    /** Each rank's loss is the mean over as many tokens. */
    async step() {
      const steps = await ofAll((rank) => rank.step());
      const total = (of: (step: (typeof steps)[number]) => number) => steps.reduce((sum, step) => sum + of(step), 0);
      return {
        loss: total(({ loss }) => loss) / size,
        seconds: Math.max(...steps.map(({ seconds }) => seconds)),
        cpuSeconds: total(({ cpuSeconds }) => cpuSeconds),
      };
    },
    peakBytes: async () => Math.max(...(await ofAll((rank) => rank.peakBytes()))),
    profile: async () => (await ofAll((rank) => rank.profile()))[0] ?? [],
    async close() {
      await ofAll((rank) => rank.close());
    },
  };
}
