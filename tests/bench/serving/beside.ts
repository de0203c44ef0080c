// The bench beside: the time to the first token of a short prompt, alone and while the engine computes a long one.
import { setTimeout as sleep } from 'node:timers/promises';
import { loadEngine } from '#runtime/engine/main.ts';
import type { LoadedEngine } from '#runtime/engine/main.ts';
import { openDevice } from '#runtime/tensor/main.ts';
import { median } from '../median.ts';
import { freshPrompt, subjectOf } from './subject.ts';
import type { Subject } from './subject.ts';

interface BesideOptions {
  readonly model: string | undefined;
  readonly rounds: number;
  /** Tokens of the prompts. */
  readonly short: number;
  readonly long: number;
}

/** Seconds. */
interface BesideFigures {
  readonly alone: Spread;
  readonly beside: Spread;
  /** Of a long prompt to its first token, with short ones beside it. */
  readonly long: number;
}

interface Spread {
  readonly median: number;
  readonly most: number;
}

export async function benchBeside({ model, rounds, short, long }: BesideOptions): Promise<BesideFigures> {
  const subject = await subjectOf(model);
  await using opened = new AsyncDisposableStack();
  const device = opened.use(openDevice());
  const options = { contextLength: long + 1 };
  const loaded = opened.adopt(await loadEngine({ modelDir: subject.ours, device, options }), (engine) => engine.close());
  await firstToken(loaded, subject, short);
  const alone: number[] = [];
  for (let round = 0; round < rounds; round += 1) alone.push(await firstToken(loaded, subject, short));
  const beside: number[] = [];
  const longs: number[] = [];
  while (beside.length < rounds) {
    let isRunning = true;
    const running = firstToken(loaded, subject, long).finally(() => (isRunning = false));
    while (beside.length < rounds) {
      // Requests come at any time of a step.
      await sleep(7 + ((beside.length * 13) % 29));
      if (!isRunning) break;
      const taken = await firstToken(loaded, subject, short);
      // What ended after the long prompt did was not beside it all the time.
      if (isRunning) beside.push(taken);
    }
    longs.push(await running);
  }
  return { alone: spreadOf(alone), beside: spreadOf(beside), long: median(longs) };
}

async function firstToken({ engine }: LoadedEngine, subject: Subject, length: number): Promise<number> {
  const begin = performance.now();
  for await (const piece of engine.generate({ prompt: freshPrompt(subject, length), maxTokens: 1, temperature: 0 })) void piece;
  return (performance.now() - begin) / 1e3;
}

function spreadOf(values: readonly number[]): Spread {
  return { median: median(values), most: Math.max(...values) };
}
