// A runner without a model, for tests of what stands above it: tokens are bytes, and the next one is a function of those before.
import type { Vocabulary } from './generation.ts';
import type { ScoredToken } from './request.ts';
import type { Runner, Work, WorkResult } from './runner.ts';

export const endOfText = 256;

/** 256 bytes and the end of text. */
export const byteVocabulary: Vocabulary = {
  size: 257,
  tokenBytes: (id) => (id === endOfText ? new Uint8Array() : Uint8Array.of(id)),
  endOfText: new Set([endOfText]),
};

export interface FakeRunnerOptions {
  readonly blocks?: number;
  readonly blockSize?: number;
  /** Layers of a step; default 3. */
  readonly layers?: number;
  /** The token after `tokens`; default: repeats the text from its start, then from that, and so on. */
  readonly next?: (tokens: readonly number[], work: Work) => number;
  /** Log-probability of a token; default: -0.5 for all. */
  readonly logprob?: (id: number) => number;
  /** Called before each step's results are given; a rejection fails the step. */
  readonly beforeResults?: (work: readonly Work[]) => Promise<void>;
}

export interface FakeRunner extends Runner {
  /** Work of all steps so far. */
  readonly steps: (readonly Work[])[];
  /** Steps that were begun, and neither ended nor closed. */
  open: number;
  closed: boolean;
}

export function fakeRunner(options: FakeRunnerOptions = {}): FakeRunner {
  const next = options.next ?? ((tokens, { chunk }) => tokens[tokens.length - chunk.sequence.promptLength]!);
  const beforeResults = options.beforeResults ?? (() => new Promise((resolve) => setImmediate(resolve)));
  return {
    blocks: options.blocks ?? 64,
    blockSize: options.blockSize ?? 4,
    cacheType: 'f32',
    blockBytes: 64,
    steps: [],
    open: 0,
    closed: false,
    begin(work) {
      let left = options.layers ?? 3;
      let isOpen = true;
      this.open += 1;
      const close = () => {
        if (isOpen) this.open -= 1;
        isOpen = false;
      };
      return {
        get layersLeft() {
          return left;
        },
        advance: async (layers) => {
          left -= layers;
          if (left > 0) {
            await new Promise((resolve) => setImmediate(resolve));
            return undefined;
          }
          close();
          this.steps.push(work);
          const results = work.map((item) => resultOf(item, next, options.logprob ?? (() => -0.5)));
          await beforeResults(work);
          return results;
        },
        close,
      };
    },
    close() {
      this.closed = true;
    },
  };
}

function resultOf(
  work: Work,
  next: (tokens: readonly number[], work: Work) => number,
  logprob: (id: number) => number,
): WorkResult {
  const { sequence, start, count, last, drafts } = work.chunk;
  const draw = (assumed: readonly number[]) =>
    scored(ruled(next([...sequence.tokens, ...assumed], work), work, assumed), work.topLogprobs, logprob);
  const prompt = sequence.tokens.slice(start + 1, Math.min(start + 1 + count, sequence.promptLength));
  return {
    ...(last && work.draws ? { tokens: Array.from({ length: drafts.length + 1 }, (_, i) => draw(drafts.slice(0, i))) } : {}),
    ...(work.promptLogprobs === undefined ? {} : { prompt: prompt.map((id) => scored(id, work.promptLogprobs!, logprob)) }),
  };
}

/** The token of the largest logit after the rules, if the model gives 1 to `wanted` and 0 to all others. */
function ruled(wanted: number, { chunk: { sequence }, rules }: Work, assumed: readonly number[]): number {
  if (!rules?.changes(sequence.tokens.length + assumed.length)) return wanted;
  const logits = new Float32Array(byteVocabulary.size);
  logits[wanted] = 1;
  rules.apply(logits, sequence.tokens, assumed);
  return logits.indexOf(Math.max(...logits));
}

function scored(id: number, top: number, logprob: (id: number) => number): ScoredToken {
  const own = logprob(id);
  return { id, logprob: own, top: Array.from({ length: top }, (_, i) => ({ id: (id + i) % 257, logprob: own - i })) };
}
