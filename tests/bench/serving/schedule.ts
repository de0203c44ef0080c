// The bench schedule: how long it takes to plan a step while many sequences run. No model, one thread.
import { BlockManager } from '#runtime/engine/block-manager.ts';
import { Scheduler } from '#runtime/engine/scheduler.ts';
import { createSequence } from '#runtime/engine/sequence.ts';
import { median } from '../median.ts';

interface ScheduleOptions {
  readonly sequences: number;
  readonly rounds: number;
}

/** Microseconds. */
interface ScheduleFigures {
  readonly median: number;
  readonly p99: number;
}

const blockSize = 16;
const promptLength = 512;
const stepsPerRound = 64;

/** Steps in which each of `sequences` draws a token, and one in `blockSize` of them takes and hashes a block. */
export function benchSchedule({ sequences, rounds }: ScheduleOptions): ScheduleFigures {
  const blocksEach = Math.ceil((promptLength + (rounds + 1) * stepsPerRound) / blockSize) + 1;
  const manager = new BlockManager({ blocks: sequences * blocksEach, blockSize, prefixCache: true, hashSeed: 'bench' });
  const scheduler = new Scheduler(manager, {
    maxSequences: sequences,
    maxBatchedTokens: sequences * promptLength,
    maxChunkAmongOthers: promptLength,
    watermarkBlocks: 0,
  });
  for (let id = 0; id < sequences; id += 1) {
    const prompt = Array.from({ length: promptLength }, (_, position) => (id * 7919 + position * 31) % 50_000);
    scheduler.add(createSequence({ id, prompt, maxTokens: (rounds + 1) * stepsPerRound + 1 }));
  }
  const step = () => {
    const begin = performance.now();
    const { chunks } = scheduler.schedule();
    const took = performance.now() - begin;
    for (const { sequence } of chunks) sequence.tokens.push((sequence.id + sequence.tokens.length) % 50_000);
    return 1e3 * took;
  };
  step();
  // Sequences of different lengths fill their blocks in different steps.
  for (const [index, { tokens }] of scheduler.running.entries())
    for (let extra = 0; extra < index % blockSize; extra += 1) tokens.push(extra);
  for (let warm = 0; warm < stepsPerRound; warm += 1) step();
  const taken = Array.from({ length: (rounds - 1) * stepsPerRound }, step).toSorted((a, b) => a - b);
  return { median: median(taken), p99: taken[Math.floor(taken.length * 0.99)]! };
}
