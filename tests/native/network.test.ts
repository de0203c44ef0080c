// Ranks in two network namespaces on a bad network: they train the bits of one rank, or end with an error that names the peer; they never wait for ever.
import { beforeAll, describe, expect, it } from 'vitest';
import { newModelConfig } from '#runtime/model/main.ts';
import { noParallelism } from '#runtime/parallel/main.ts';
import type { Parallelism } from '#runtime/parallel/main.ts';
import { openNetworkPair, pairAddresses } from './network-pair.ts';
import type { NetworkPair } from './network-pair.ts';
import { runProcesses } from './process-ranks.ts';
import type { ProcessRun, RankOutcome } from './process-ranks.ts';

const batch = { sequences: 4, length: 16, grains: 4 };
const config = newModelConfig(
  'gpt2',
  { hiddenSize: 32, layers: 2, heads: 4, dropout: 0.1 },
  { vocabularySize: 131, trainingLength: batch.length },
);
const optimizer = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1, clipNorm: 0.5 };
const setting = { config, batch, seed: 3, recompute: 'none', optimizer } as const;
const steps = 2;
/** Of an operation without any progress. */
const deadlineMs = 8_000;
/** Beyond its deadline, a silent peer is named within this time on any machine: TCP by itself takes many minutes to give up. */
const namingMs = 60_000;

let alone: RankOutcome;
beforeAll(async () => {
  [alone] = (await runProcesses({ parallelism: noParallelism, setting, steps })) as [RankOutcome];
});

/** Two ranks, one at each end of the cable. */
function runPair(pair: NetworkPair, changed: Partial<ProcessRun> & { layout?: Partial<Parallelism> } = {}) {
  const { layout = { dataReplicate: 2 }, ...rest } = changed;
  return runProcesses({
    parallelism: { ...noParallelism, ...layout },
    setting,
    steps,
    transport: 'tcp',
    addresses: pairAddresses,
    execPath: pair.node,
    deadlineMs,
    ...rest,
  });
}

function expectTheBitsOfOneRank(outcomes: readonly (RankOutcome | undefined)[]): void {
  expect(outcomes.map((outcome) => outcome?.error)).toEqual([undefined, undefined]);
  expect(outcomes.map((outcome) => outcome?.losses)).toEqual([alone.losses, alone.losses]);
  expect(outcomes[0]?.digest).toBe(alone.digest);
}

/** Each rank names the other one, in time. */
function expectBothNameThePeer(outcomes: readonly (RankOutcome | undefined)[], since: number): void {
  for (const [rank, outcome] of outcomes.entries()) {
    expect(outcome?.error, `rank ${rank}`).toMatch(new RegExp(`rank ${1 - rank}\\b`));
    expect(outcome!.failedAt! - since, `rank ${rank}: ${outcome?.error}`).toBeLessThan(deadlineMs + namingMs);
  }
}

const noTunnel = 'there are no tunnel devices here (CONFIG_TUN), which carry the late packets';

const layouts = [{ dataReplicate: 2 }, { dataShard: 2 }, { tensor: 2, sequenceParallel: true }, { pipeline: 2 }];
const cases = layouts.map((layout) => [JSON.stringify(layout).replaceAll('"', ''), layout] as const);

it.each(cases)('%s trains the bits of one rank where every tenth packet is lost', async (_, layout) => {
  using pair = openNetworkPair();
  pair.lose(10);
  expectTheBitsOfOneRank(await runPair(pair, { layout, deadlineMs: 60_000 }));
});

// Hundreds of round trips, in which nobody works: all at the same time.
describe.concurrent('where each packet takes 200 ms', { timeout: 240_000 }, () => {
  it.for(cases)('%s trains the bits of one rank', async ([, layout], { skip }) => {
    using pair = openNetworkPair();
    skip(!(await pair.delay(200)), noTunnel);
    expectTheBitsOfOneRank(await runPair(pair, { layout, deadlineMs: 60_000 }));
  });

  it('trains the bits of one rank through TLS', async ({ skip }) => {
    using pair = openNetworkPair();
    skip(!(await pair.delay(200)), noTunnel);
    expectTheBitsOfOneRank(await runPair(pair, { tls: true, deadlineMs: 60_000 }));
  });

  it('and every tenth is lost, trains the bits of one rank', async ({ skip }) => {
    using pair = openNetworkPair();
    skip(!(await pair.delay(200)), noTunnel);
    pair.lose(10);
    expectTheBitsOfOneRank(await runPair(pair, { deadlineMs: 60_000 }));
  });
});

it('trains the bits of one rank through TLS where every tenth packet is lost', async () => {
  using pair = openNetworkPair();
  pair.lose(10);
  expectTheBitsOfOneRank(await runPair(pair, { tls: true, deadlineMs: 60_000 }));
});

const plain = cases.map(([name, layout]) => [name, { layout }] as const);
const through = [...plain, [`${cases[0]![0]} through TLS`, { tls: true }] as const];

it.each(through)('%s ends with an error that names the peer when its packets are swallowed in the middle', async (_, changed) => {
  using pair = openNetworkPair();
  let swallowedAt = NaN;
  const swallowInTheMiddle = async () => {
    // Hand-shakes and the first steps are done by then.
    while (pair.bytesSent() < 300_000) await new Promise((done) => setTimeout(done, 20));
    pair.swallow();
    swallowedAt = Date.now();
  };
  const outcomes = await runPair(pair, { ...changed, steps: 1_000_000, onStart: swallowInTheMiddle });
  expectBothNameThePeer(outcomes, swallowedAt);
});

it.each([false, true])('ends with an error that names the peer when the port was never open, TLS: %s', async (tls) => {
  using pair = openNetworkPair();
  pair.swallow();
  let begunAt = NaN;
  const outcomes = await runPair(pair, { tls, onStart: () => void (begunAt = Date.now()) });
  expectBothNameThePeer(outcomes, begunAt);
});
