// The benches decode, prefill and batch: our engine and llama.cpp's own benches in turns, on the same weights.
import { setTimeout as sleep } from 'node:timers/promises';
import * as kernels from '#kernels/binding.ts';
import { openDevice } from '#runtime/tensor/main.ts';
import type { CacheType } from '#runtime/tensor/main.ts';
import { rowOf, withLimit } from '../line.ts';
import type { BenchLine, BenchRow, IsaClass, Limits } from '../line.ts';
import { Machine } from '../machine.ts';
import { median } from '../median.ts';
import { tellRound } from '../progress.ts';
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

export interface SpeedOptions extends ServingOptions {
  /** Of the prompt, or to generate. */
  readonly tokens: number;
  /** Tokens before those that are generated; of decode only. */
  readonly depth?: number;
  /** What both sides keep keys and values as; each as it does by itself if absent. */
  readonly cache?: CacheType | undefined;
}

interface Measured {
  readonly name: string;
  readonly ours: (engine: OurEngine) => Promise<Speed>;
  readonly peer: (tools: LlamaTools) => Promise<number>;
}

const together = { sequences: 8, promptLength: 128 };

const measuredOf: Readonly<Record<SpeedBench, (tokens: number, depth: number) => Measured>> = {
  decode: (tokens, depth) => ({
    name: `${tokens} tokens of one sequence${depth === 0 ? '' : ` after ${depth}`}`,
    ours: (engine) => engine.decode(tokens, depth),
    peer: (tools) => tools.decode(tokens, depth),
  }),
  prefill: (tokens) => ({
    name: `prompt of ${tokens} tokens`,
    ours: (engine) => engine.prefill(tokens),
    peer: (tools) => tools.prefill(tokens),
  }),
  batch: (tokens) => ({
    name: `${tokens} tokens of each of ${together.sequences} sequences after ${together.promptLength}`,
    ours: (engine) => engine.decodeTogether({ ...together, count: tokens }),
    peer: (tools) => tools.decodeTogether({ ...together, count: tokens }),
  }),
};

/** Between the turns, so that threads of the side that just ran have gone to sleep. */
const restMs = 100;

export async function benchSpeed(bench: SpeedBench, options: SpeedOptions): Promise<BenchLine> {
  const { isa, rounds, model, peer, tokens, depth = 0, cache } = options;
  const subject = await subjectOf(model);
  const { name, ours, peer: theirs } = measuredOf[bench](tokens, depth);
  const tools = peer ? new LlamaTools(subject, isa, kernels.threads(), cache) : undefined;
  await using opened = new AsyncDisposableStack();
  const device = opened.use(openDevice());
  const engine = opened.adopt(await OurEngine.load(subject, device, cache), (loaded) => loaded.close());
  const machine = new Machine(device);
  await ours(engine);
  const [mine, others]: [Speed[], number[]] = [[], []];
  for (let round = 0; round < rounds; round += 1) {
    tellRound(round, rounds);
    await machine.look();
    mine.push(await ours(engine));
    await sleep(restMs);
    if (tools) others.push(await theirs(tools));
  }
  const speed = median(mine.map(({ tokensPerSecond }) => tokensPerSecond));
  const compared = rowOf(cache ? `${name}, cache of ${cache}` : name, 'tokens/s', {
    ours: speed,
    peer: tools && median(others),
    peerName: 'llama.cpp',
  });
  return {
    bench,
    subject: subject.name,
    ...machine.describe(isa),
    versions: { node: process.version, ...(tools ? { 'llama.cpp': tools.version } : {}) },
    rounds,
    rows: [limited(bench, compared, subject, machine.limits)],
  };
}

/** One sequence reads all weights for each token; a prompt, or several sequences, multiply with them. */
function limited(bench: SpeedBench, row: BenchRow, { bytes, parameters }: Subject, limits: Limits): BenchRow {
  if (bench === 'decode') return withLimit(row, 'read', (row.ours * bytes) / 1e9, limits);
  return parameters === undefined ? row : withLimit(row, 'fma', (row.ours * 2 * parameters) / 1e9, limits);
}
