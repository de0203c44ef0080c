// The benches of single operations: matrix products, attention and AdamW against PyTorch (and OpenBLAS), shape by shape in turns.
import { setTimeout as sleep } from 'node:timers/promises';
import * as kernels from '#kernels/binding.ts';
import { empty, fillNormal, openDevice } from '#runtime/tensor/main.ts';
import type { Device, Tensor } from '#runtime/tensor/main.ts';
import { rowOf, withLimit } from '../line.ts';
import type { BenchLine, BenchRow, IsaClass } from '../line.ts';
import { Machine } from '../machine.ts';
import { median } from '../median.ts';
import { tellCase } from '../progress.ts';
import { adamwCases, attentionCases, gemmCases } from './cases.ts';
import type { KernelCase } from './cases.ts';
import { startKernelPeer } from './peer.ts';
import type { CallTime, KernelPeer } from './peer.ts';

export type KernelBench = 'gemm' | 'attention' | 'adamw';

export interface KernelBenchOptions {
  readonly isa: IsaClass;
  readonly rounds: number;
  /** Text in the names of the cases that are measured. */
  readonly only: string;
  /** Path of a python executable; without it there is no peer. */
  readonly torch: string | undefined;
}

const casesOf = { gemm: gemmCases, attention: attentionCases, adamw: adamwCases };

/** Of each side in each round. */
const measuredSeconds = 0.06;
/** Before each measurement, as kernels_torch.py has them: the other side has had the caches meanwhile. */
const warmUpCalls = 2;
/** Between the turns, so that threads of the side that just ran have gone to sleep. */
const restMs = 250;

export async function benchKernels(bench: KernelBench, { isa, rounds, only, torch }: KernelBenchOptions): Promise<BenchLine> {
  using device = openDevice();
  await using opened = new AsyncDisposableStack();
  const peer = torch === undefined ? undefined : await startKernelPeer(torch, kernels.isa(), kernels.threads());
  opened.defer(() => peer?.close());
  const machine = new Machine(device);
  const measured: { readonly of: KernelCase; readonly times: CaseTimes }[] = [];
  for (const group of casesOf[bench]) {
    using tensors = new DisposableStack();
    const make = (shape: readonly number[]) => tensors.adopt(random(device, shape), (tensor) => tensor.dispose());
    const cases = group(device, make).filter(({ name }) => name.includes(only));
    if (cases.length > 0) await machine.look();
    for (const of of cases) {
      tellCase(of.name);
      measured.push({ of, times: await timesOf(of, { device, peer, rounds }) });
    }
  }
  if (measured.length === 0) throw new Error(`nothing that ${bench} measures has "${only}" in its name`);
  const { limits } = machine;
  return {
    bench,
    subject: only === '' ? 'shapes of GPT-2' : `shapes of GPT-2 with "${only}" in their names`,
    ...machine.describe(isa),
    versions: { node: process.version, ...peer?.versions },
    rounds,
    rows: measured.map(({ of, times }) => {
      const row = comparison(of, times);
      return withLimit(row, of.limit, row.ours, limits);
    }),
  };
}

function random(device: Device, shape: readonly number[]): Tensor {
  const tensor = empty(device, shape, 'bench');
  fillNormal(tensor, { mean: 0, std: 1, seed: 1, stream: 0 });
  return tensor;
}

interface CaseTimes {
  /** By round. */
  readonly ours: CallTime[];
  readonly peers: Map<string, CallTime[]>;
}

interface Turn {
  readonly device: Device;
  readonly peer: KernelPeer | undefined;
  readonly rounds: number;
}

async function timesOf(of: KernelCase, { device, peer, rounds }: Turn): Promise<CaseTimes> {
  const times: CaseTimes = { ours: [], peers: new Map() };
  const run = async (calls: number): Promise<CallTime> => {
    const [begin, cpuBegin] = [performance.now(), process.cpuUsage()];
    for (let call = 0; call < calls; call += 1) of.enqueue(call);
    await device.sync();
    const { user, system } = process.cpuUsage(cpuBegin);
    return { seconds: (performance.now() - begin) / 1e3 / calls, cpuSeconds: (user + system) / 1e6 / calls };
  };
  await run(1);
  const calls = Math.max(2, Math.ceil(measuredSeconds / (await run(1)).seconds));
  for (let round = 0; round < rounds; round += 1) {
    await run(warmUpCalls);
    times.ours.push(await run(calls));
    await sleep(restMs);
    for (const [name, time] of Object.entries((await peer?.time(of.request, measuredSeconds)) ?? {}))
      times.peers.set(name, [...(times.peers.get(name) ?? []), time]);
    await sleep(peer ? restMs : 0);
  }
  return times;
}

/** Against the best of the peers. */
function comparison(of: KernelCase, { ours, peers }: CaseTimes): BenchRow {
  const unit = of.limit === 'fma' ? 'GFLOP/s' : 'GB/s';
  const seconds = (times: readonly CallTime[]) => median(times.map((time) => time.seconds));
  const cpuSeconds = (times: readonly CallTime[]) => median(times.map((time) => time.cpuSeconds));
  const [best] = [...peers].toSorted(([, a], [, b]) => seconds(a) - seconds(b));
  const row = rowOf(of.name, unit, { ours: of.work / seconds(ours), peer: best && of.work / seconds(best[1]) });
  return best ? { ...row, peerName: best[0], cpuRatio: cpuSeconds(best[1]) / cpuSeconds(ours) } : row;
}
