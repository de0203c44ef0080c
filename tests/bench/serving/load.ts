// The benches server and coldstart: our engine and llama-server as processes, asked over HTTP in turns.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as kernels from '#kernels/binding.ts';
import { openDevice } from '#runtime/tensor/main.ts';
import { llamaVersion } from '../../../hack/peer-tools/llama.ts';
import { rowOf } from '../line.ts';
import type { BenchLine } from '../line.ts';
import { Machine } from '../machine.ts';
import { median } from '../median.ts';
import { tellRound } from '../progress.ts';
import { startLlama, startOurs } from './servers.ts';
import type { Served, ServerSetup } from './servers.ts';
import type { ServingOptions } from './speed.ts';
import { freshPrompt, subjectOf } from './subject.ts';
import type { Subject } from './subject.ts';

export interface LoadOptions extends ServingOptions {
  readonly clients: number;
  /** Tokens that the prompts of a round begin with. */
  readonly prefix: number;
  /** Tokens that each client asks for. */
  readonly tokens: number;
}

/** Tokens of a prompt after what it shares with others. */
const ownTokens = 16;

/** What a round of requests took. */
interface Round {
  readonly requestsPerSecond: number;
  /** Seconds to the first token of a prompt that nobody asked before, and of another one with the same prefix. */
  readonly first: number;
  readonly second: number;
}

export async function benchServer(options: LoadOptions): Promise<BenchLine> {
  const { isa, rounds, model, peer, clients, prefix, tokens } = options;
  const subject = await subjectOf(model);
  const contextLength = prefix + ownTokens + tokens + 1;
  const setup = { subject, isa, threads: kernels.threads(), sequences: clients, contextLength };
  await using opened = new AsyncDisposableStack();
  const machine = new Machine(opened.use(openDevice()));
  const ours = opened.adopt(await startOurs(setup), (served) => served.close());
  const theirs = peer ? opened.adopt(await startLlama(setup), (served) => served.close()) : undefined;
  const [mine, others]: [Round[], Round[]] = [[], []];
  for (let round = 0; round < rounds; round += 1) {
    tellRound(round, rounds);
    await machine.look();
    mine.push(await roundOf(ours, subject, options));
    if (theirs) others.push(await roundOf(theirs, subject, options));
  }
  const row = (name: string, unit: string, of: (round: Round) => number, better: 'more' | 'less') =>
    rowOf(name, unit, { ours: median(mine.map(of)), peer: theirs && median(others.map(of)), better, peerName: 'llama-server' });
  return {
    bench: 'server',
    subject: subject.name,
    ...machine.describe(isa),
    versions: { node: process.version, ...(theirs ? { 'llama.cpp': llamaVersion } : {}) },
    rounds,
    rows: [
      row(`${clients} clients, prefix of ${prefix}, ${tokens} tokens each`, 'requests/s', (of) => of.requestsPerSecond, 'more'),
      row('first token of a new prefix', 's', ({ first }) => first, 'less'),
      row('first token of a known prefix', 's', ({ second }) => second, 'less'),
    ],
  };
}

async function roundOf(served: Served, subject: Subject, { clients, prefix, tokens }: LoadOptions): Promise<Round> {
  const shared = freshPrompt(subject, prefix);
  const prompt = () => [...shared, ...freshPrompt(subject, ownTokens)];
  const { firstTokenSeconds: first } = await served.complete(prompt(), 1);
  const { firstTokenSeconds: second } = await served.complete(prompt(), 1);
  const begin = performance.now();
  await Promise.all(Array.from({ length: clients }, () => served.complete(prompt(), tokens)));
  return { requestsPerSecond: clients / ((performance.now() - begin) / 1e3), first, second };
}

export async function benchColdStart({ isa, rounds, model, peer }: ServingOptions): Promise<BenchLine> {
  const subject = await subjectOf(model);
  const setup: ServerSetup = { subject, isa, threads: kernels.threads(), sequences: 1, contextLength: 512 };
  using device = openDevice();
  const machine = new Machine(device);
  const secondsOf = async (start: (setup: ServerSetup) => Promise<Served>) => {
    const served = await start(setup);
    await served.close();
    return served.startSeconds;
  };
  const cache = await mkdtemp(join(tmpdir(), 'windlass-coldstart-'));
  await using _removed = { [Symbol.asyncDispose]: () => rm(cache, { recursive: true }) };
  const shared = (setup: ServerSetup) => startOurs({ ...setup, cache });
  // The first start of each side brings the file into the page cache; ours also packs the weights that later ones share.
  await secondsOf(shared);
  if (peer) await secondsOf(startLlama);
  const [mine, alone, others]: [number[], number[], number[]] = [[], [], []];
  for (let round = 0; round < rounds; round += 1) {
    tellRound(round, rounds);
    await machine.look();
    mine.push(await secondsOf(shared));
    alone.push(await secondsOf(startOurs));
    if (peer) others.push(await secondsOf(startLlama));
  }
  const row = (name: string, ours: readonly number[]) =>
    rowOf(name, 's', { ours: median(ours), peer: peer ? median(others) : undefined, better: 'less', peerName: 'llama-server' });
  return {
    bench: 'coldstart',
    subject: subject.name,
    ...machine.describe(isa),
    versions: { node: process.version, ...(peer ? { 'llama.cpp': llamaVersion } : {}) },
    rounds,
    rows: [row('start of the process to its first token', mine), row('the same where no process shares packed weights', alone)],
  };
}
