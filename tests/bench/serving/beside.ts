// The bench beside: how long a short prompt waits for its first token while a long one is being computed, and when nothing else is.
import { setTimeout as sleep } from 'node:timers/promises';
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

export interface BesideOptions extends ServingOptions {
  /** Tokens of the long prompt, and of the short one. */
  readonly long: number;
  readonly short: number;
}

/** Seconds to the first token of a short prompt, and of the long one that it met. */
interface Meeting {
  readonly idle: number;
  readonly beside: number;
  readonly long: number;
}

export async function benchBeside(options: BesideOptions): Promise<BenchLine> {
  const { isa, rounds, model, peer, long, short } = options;
  const subject = await subjectOf(model);
  const setup: ServerSetup = { subject, isa, threads: kernels.threads(), sequences: 4, contextLength: long + 2 };
  await using opened = new AsyncDisposableStack();
  const machine = new Machine(opened.use(openDevice()));
  const sides = [opened.adopt(await startOurs(setup), (served) => served.close())];
  if (peer) sides.push(opened.adopt(await startLlama(setup), (served) => served.close()));
  const taken = sides.map((): Meeting[] => []);
  for (const side of sides) await meet(side, subject, options, 0.5);
  for (let round = 0; round < rounds; round += 1) {
    tellRound(round, rounds);
    await machine.look();
    // At another moment of the long prompt each time.
    for (const [index, side] of sides.entries()) taken[index]!.push(await meet(side, subject, options, (round + 0.5) / rounds));
  }
  const row = (name: string, of: (meetings: readonly Meeting[]) => number, unit = 's') =>
    rowOf(name, unit, { ours: of(taken[0]!), peer: taken[1] && of(taken[1]), better: 'less', peerName: 'llama-server' });
  const idle = (meetings: readonly Meeting[]) => median(meetings.map((meeting) => meeting.idle));
  const p99 = (meetings: readonly Meeting[]) =>
    meetings.map(({ beside }) => beside).toSorted((a, b) => a - b)[Math.ceil(0.99 * rounds) - 1]!;
  return {
    bench: 'beside',
    subject: subject.name,
    ...machine.describe(isa),
    versions: { node: process.version, ...(peer ? { 'llama.cpp': llamaVersion } : {}) },
    rounds,
    rows: [
      row(`first token of a prompt of ${short}, idle`, idle),
      row(`the same beside one of ${long}, median`, (meetings) => median(meetings.map(({ beside }) => beside))),
      row('the same, p99', p99),
      row('times the idle one at p99', (meetings) => p99(meetings) / idle(meetings), ''),
      row(`first token of the prompt of ${long}`, (meetings) => median(meetings.map((meeting) => meeting.long))),
    ],
  };
}

/** A short prompt alone, then one that comes when `part` of a long one's time has passed. */
async function meet(served: Served, subject: Subject, { long, short }: BesideOptions, part: number): Promise<Meeting> {
  const ask = async (length: number) => (await served.complete(freshPrompt(subject, length), 1)).firstTokenSeconds;
  const alone = await ask(long);
  const idle = await ask(short);
  const asked = ask(long);
  await sleep(1e3 * alone * 0.9 * part);
  const beside = await ask(short);
  return { idle, beside, long: await asked };
}
