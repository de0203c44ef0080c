// What a trace of ranks shows: communication beside computation, and the activations that a schedule keeps.
import { describe, expect, it } from 'vitest';
import { newModelConfig } from '#runtime/model/main.ts';
import { noParallelism } from '#runtime/parallel/main.ts';
import type { Parallelism } from '#runtime/parallel/main.ts';
import { activationsHeld } from '#runtime/parallel/schedule/timing/formulas.ts';
import type { RankTrace, TraceEvent } from '#runtime/parallel/trace/chrome.ts';
import { stepAll, testBatch, withRanks } from './ranks.ts';
import type { Setting } from './ranks.ts';

const optimizer = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1, clipNorm: 0.5 };

/** The traces of all ranks over some steps after the first. */
async function traced(parallelism: Parallelism, setting: Setting, steps: number): Promise<RankTrace[]> {
  return await withRanks(parallelism, setting, async (ranks) => {
    const batchOf = (step: number) => testBatch(setting.batch, setting.config, step);
    await stepAll(ranks, batchOf(1), 1, 0.01);
    for (let step = 2; step < 2 + steps; step += 1) {
      for (const { recorder } of ranks) recorder.start(step);
      await stepAll(ranks, batchOf(step), step, 0.01);
      for (const { recorder } of ranks) recorder.stop();
    }
    await Promise.all(ranks.map(({ trainer }) => trainer.execution.settled()));
    return await Promise.all(ranks.map(({ recorder }) => recorder.read()));
  });
}

const ofCategory = ({ traceEvents }: RankTrace, category: string) => traceEvents.filter(({ cat }) => cat === category);
const rangeOf = ({ ts = NaN, dur = NaN }: TraceEvent) => ({ start: ts, end: ts + dur });
const isWithin = (inner: TraceEvent, outer: TraceEvent) =>
  rangeOf(inner).start >= rangeOf(outer).start && rangeOf(inner).end <= rangeOf(outer).end;
/** What waits for the other begins when the other has ended. */
const overlap = (a: TraceEvent, b: TraceEvent) => rangeOf(a).start < rangeOf(b).end && rangeOf(b).start < rangeOf(a).end;

describe('two ranks that share all weights out', () => {
  const batch = { sequences: 8, length: 64, grains: 4 };
  const config = newModelConfig('gpt2', { hiddenSize: 128, layers: 6, heads: 4 }, { vocabularySize: 259, trainingLength: 64 });
  const setting: Setting = { config, batch, seed: 3, recompute: 'none', optimizer };
  const parallelism: Parallelism = { ...noParallelism, dataShard: 2, zero: 3 };

  it('gather and reduce one block while another computes', async () => {
    for (const trace of await traced(parallelism, setting, 3)) {
      const blocks = ofCategory(trace, 'unit');
      const communication = ofCategory(trace, 'communication');
      /** Blocks beside whose pass the operation of a neighbour ran. */
      const beside = (pass: 'forward' | 'backward', what: string, neighbour: number) =>
        blocks.filter((block) => {
          const site = `${what} block ${Number(block.args['unit']) - 1 + neighbour}`;
          return block.args['pass'] === pass && communication.some((each) => each.name === site && overlap(each, block));
        });
      expect(beside('forward', 'gather', 1)).not.toEqual([]);
      expect(beside('backward', 'gather', -1)).not.toEqual([]);
      expect(beside('backward', 'gradient of', 1)).not.toEqual([]);
    }
  });

  it('have each action in its step, each pass through a unit in an action, and no two actions at once', async () => {
    for (const trace of await traced(parallelism, setting, 2)) {
      const [steps, actions, units] = ['step', 'action', 'unit'].map((category) => ofCategory(trace, category));
      expect(steps!.map(({ name }) => name)).toEqual(['step 2', 'step 3']);
      expect(actions).toHaveLength(2 * 2 * 2);
      expect(units).toHaveLength(2 * 2 * (2 * 8));
      for (const action of actions!) {
        const own = steps!.find(({ args }) => args['step'] === action.args['step'])!;
        expect(isWithin(action, own)).toBe(true);
      }
      for (const unit of units!) expect(actions!.some((action) => isWithin(unit, action))).toBe(true);
      const ranges = actions!.map(rangeOf);
      for (const [at, { start }] of ranges.slice(1).entries()) expect(start).toBeGreaterThanOrEqual(ranges[at]!.end);
    }
  });
});

it('a trace that is asked for at once has the end of its last step, which the stream has yet to come to', async () => {
  const batch = { sequences: 16, length: 64, grains: 1 };
  const config = newModelConfig('gpt2', { hiddenSize: 128, layers: 4, heads: 4 }, { vocabularySize: 259, trainingLength: 64 });
  await withRanks(noParallelism, { config, batch, seed: 3, recompute: 'none', optimizer }, async (ranks) => {
    const { recorder } = ranks[0]!;
    recorder.start(1);
    const stepping = stepAll(ranks, testBatch(batch, config, 1), 1, 0.01);
    recorder.stop();
    const trace = await recorder.read();
    expect(ofCategory(trace, 'step').map(({ name }) => name)).toEqual(['step 1']);
    await stepping;
  });
});

it('a step with more operations than the log holds is traced as a whole', async () => {
  const batch = { sequences: 128, length: 8, grains: 128 };
  const size = { hiddenSize: 16, layers: 8, heads: 2 };
  const config = newModelConfig('gpt2', size, { vocabularySize: 259, trainingLength: 8 });
  const [trace] = await traced({ ...noParallelism, tensor: 2 }, { config, batch, seed: 3, recompute: 'none', optimizer }, 1);
  expect(ofCategory(trace!, 'action')).toHaveLength(2 * 128);
  expect(ofCategory(trace!, 'unit')).toHaveLength(2 * 10 * 128);
  const communication = ofCategory(trace!, 'communication');
  const perGroup = Map.groupBy(communication, ({ args }) => args['group']);
  for (const records of perGroup.values()) {
    const sequences = records.map(({ args }) => Number(args['sequence'])).sort((a, b) => a - b);
    expect(sequences.at(-1)! - sequences[0]! + 1, 'none is missing').toBe(sequences.length);
  }
  expect(communication.length).toBeGreaterThan(128 * 8 * 4);
});

describe('ranks of a pipeline keep as many activations as the formula says', () => {
  const batch = { sequences: 8, length: 16, grains: 8 };
  const size = { hiddenSize: 32, layers: 6, heads: 8, intermediateSize: 128 };
  const config = newModelConfig('llama', size, { vocabularySize: 259, trainingLength: 16 });
  const setting: Setting = { config, batch, seed: 3, recompute: 'none', optimizer };
  const schedules = [
    ['gpipe', 1],
    ['1f1b', 1],
    ['interleaved', 2],
    ['zb1p', 1],
    ['zbv', 2],
    ['dualpipev', 2],
  ] as const;

  it.each(schedules)('%s, 4 ranks, 8 grains', async (schedule, stagesPerRank) => {
    const traces = await traced({ ...noParallelism, pipeline: 4, schedule, stagesPerRank }, setting, 1);
    const most = traces.map(({ traceEvents }) =>
      Math.max(...traceEvents.flatMap(({ ph, args }) => (ph === 'C' ? [Number(args['grains'])] : []))),
    );
    expect(most).toEqual(activationsHeld({ schedule, pipeline: 4, stagesPerRank, grains: 8 }));
  });
});
