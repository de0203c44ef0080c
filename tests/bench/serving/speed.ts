// The benches decode, prefill and batch: our engine and llama.cpp's own benches in turns, on the same weights.
import { setTimeout as sleep } from 'node:timers/promises';
import * as kernels from '#kernels/binding.ts';
import { openDevice } from '#runtime/tensor/main.ts';
import { rowOf, withLimit } from '../line.ts';
import type { BenchLine, BenchRow, IsaClass, Limits } from '../line.ts';
import { Machine } from '../machine.ts';
import { median } from '../median.ts';
import { LlamaTools } from './llama-tools.ts';
import { OurEngine } from './our-engine.ts';
import type { Speed } from './our-engine.ts';
import { subjectOf } from './subject.ts';
import type { Subject } from './subject.ts';

export type SpeedBench = 'decode' | 'prefill' | 'batch';

export interface ServingOptions {
  readonly isa: IsaClass;
  readonly rounds: number;
  readonly model: string | undefined;
  /** Whether llama.cpp is compared with. */
  readonly peer: boolean;
}

interface Measured {
  readonly name: string;
  readonly ours: (engine: OurEngine) => Promise<Speed>;
  readonly peer: (tools: LlamaTools) => Promise<number>;
}

const together = { sequences: 8, promptLength: 128, count: 64 };

const measuredOf: Readonly<Record<SpeedBench, Measured>> = {
  decode: {
    name: '128 tokens of one sequence',
    ours: (engine) => engine.decode(128),
    peer: (tools) => tools.decode(128),
  },
  prefill: {
    name: 'prompt of 512 tokens',
    ours: (engine) => engine.prefill(512),
    peer: (tools) => tools.prefill(512),
  },
  batch: {
    name: `${together.count} tokens of each of ${together.sequences} sequences after ${together.promptLength}`,
    ours: (engine) => engine.decodeTogether(together),
    peer: (tools) => tools.decodeTogether(together),
  },
};

/** Between the turns, so that threads of the side that just ran have gone to sleep. */
const restMs = 100;

export async function benchSpeed(bench: SpeedBench, { isa, rounds, model, peer }: ServingOptions): Promise<BenchLine> {
  const subject = await subjectOf(model);
  const { name, ours, peer: theirs } = measuredOf[bench];
  const tools = peer ? new LlamaTools(subject, isa, kernels.threads()) : undefined;
  await using opened = new AsyncDisposableStack();
  const device = opened.use(openDevice());
  const engine = opened.adopt(await OurEngine.load(subject, device), (loaded) => loaded.close());
  const machine = new Machine(device);
  await ours(engine);
  const [mine, others]: [Speed[], number[]] = [[], []];
  for (let round = 0; round < rounds; round += 1) {
    await machine.look();
    mine.push(await ours(engine));
    await sleep(restMs);
    if (tools) others.push(await theirs(tools));
  }
  const speed = median(mine.map(({ tokensPerSecond }) => tokensPerSecond));
  const compared = rowOf(name, 'tokens/s', { ours: speed, peer: tools && median(others) });
  return {
    bench,
    subject: subject.name,
    ...machine.describe(isa),
    versions: { node: process.version, ...(tools ? { 'llama.cpp': tools.version } : {}) },
    rounds,
    rows: [limited(bench, tools ? { ...compared, peerName: 'llama.cpp' } : compared, subject, machine.limits)],
  };
}

/** One sequence reads all weights for each token; a prompt, or several sequences, multiply with them. */
function limited(bench: SpeedBench, row: BenchRow, { bytes, parameters }: Subject, limits: Limits): BenchRow {
  if (bench === 'decode') return withLimit(row, 'read', (row.ours * bytes) / 1e9, limits);
  return parameters === undefined ? row : withLimit(row, 'fma', (row.ours * 2 * parameters) / 1e9, limits);
}
