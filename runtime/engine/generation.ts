// One completion on its way: from drawn tokens to pieces of output, and when it ends.
import { WindlassError } from '#runtime/api/errors.ts';
import { DraftLength } from './draft-length.ts';
import { LogitRules } from './logit-rules.ts';
import { draftByNgram } from './ngram-draft.ts';
import type { OutputQueue } from './output-queue.ts';
import { completionSeed } from './request.ts';
import type { FinishReason, GenerateRequest, Sampling, ScoredToken } from './request.ts';
import type { Work, WorkResult } from './runner.ts';
import type { Chunk } from './scheduler.ts';
import { completionLength, createSequence } from './sequence.ts';
import type { Sequence } from './sequence.ts';
import { StopStrings } from './stop-strings.ts';
import { TextStream } from './text-stream.ts';
import type { Released } from './text-stream.ts';

export interface Generation {
  readonly index: number;
  readonly sequence: Sequence;
  readonly sampling: Sampling;
  readonly rules: LogitRules;
  /** Whether tokens are generated at all, or only the prompt is evaluated. */
  readonly draws: boolean;
  readonly topLogprobs: number;
  readonly promptLogprobs: number | undefined;
  /** Tokens that end the completion. */
  readonly endings: ReadonlySet<number>;
  readonly minTokens: number;
  readonly draftLength: DraftLength;
  readonly text: TextStream;
  readonly queue: OutputQueue;
  /** Generated tokens whose text is not released yet. */
  readonly unreleased: ScoredToken[];
  /** Scores of prompt tokens that are not sent yet, and how many have arrived in all. */
  readonly promptScores: ScoredToken[];
  promptScored: number;
  /** Sum of the log-probabilities of all tokens drawn. */
  drawnLogprob: number;
  /** Times in seconds of the engine's clock. */
  readonly arrivedAt: number;
  lastTokenAt: number | undefined;
}

/** What the engine needs to know about the vocabulary. */
export interface Vocabulary {
  readonly size: number;
  /** UTF-8 bytes that a token stands for; empty for special tokens. */
  tokenBytes(id: number): Uint8Array;
  /** Tokens that end a text. */
  readonly endOfText: ReadonlySet<number>;
}

interface GenerationContext {
  readonly queue: OutputQueue;
  /** Of the request; each completion derives its own. */
  readonly seed: bigint;
  readonly contextLength: number;
  /** Tokens that end a text. */
  readonly endOfText: ReadonlySet<number>;
  readonly now: number;
  readonly nextId: () => number;
}

/** The completions of a request, all waiting. */
export function createGenerations(request: GenerateRequest, context: GenerationContext): Generation[] {
  const stops = request.stop && request.stop.length > 0 ? new StopStrings(request.stop) : undefined;
  const maxTokens = request.maxTokens ?? context.contextLength - request.prompt.length;
  const endings = new Set([...(request.ignoreEos ? [] : context.endOfText), ...(request.stopTokens ?? [])]);
  let leader: Sequence | undefined;
  return Array.from({ length: request.n ?? 1 }, (_, index) => {
    const promptLogprobs = index === 0 ? request.promptLogprobs : undefined;
    const sequence = createSequence({
      id: context.nextId(),
      prompt: request.prompt,
      maxTokens,
      salt: request.salt ?? '',
      readsCache: promptLogprobs === undefined,
      leader,
    });
    leader ??= sequence;
    return {
      index,
      sequence,
      sampling: {
        temperature: request.temperature ?? 1,
        topK: request.topK ?? 0,
        topP: request.topP ?? 1,
        minP: request.minP ?? 0,
        seed: completionSeed(context.seed, index),
      },
      rules: new LogitRules(request, endings),
      draws: maxTokens > 0,
      topLogprobs: request.logprobs ?? 0,
      promptLogprobs,
      endings,
      minTokens: request.minTokens ?? 0,
      draftLength: new DraftLength(),
      text: new TextStream(stops),
      queue: context.queue,
      unreleased: [],
      promptScores: [],
      promptScored: 0,
      drawnLogprob: 0,
      arrivedAt: context.now,
      lastTokenAt: undefined,
    };
  });
}

/** What a step shall compute for a completion. */
export function workOf(chunk: Chunk, generation: Generation): Work {
  const { sampling, rules, topLogprobs, promptLogprobs, draws } = generation;
  return { chunk, sampling, rules, topLogprobs, draws, ...(promptLogprobs === undefined ? {} : { promptLogprobs }) };
}

/**
 * Takes in what a step gave for this completion, and sends on what became certain. Returns how it ended, if it did.
 * Throws WL_LOGITS_NOT_FINITE if the model's output is no distribution.
 */
export function advance(
  generation: Generation,
  chunk: Chunk,
  result: WorkResult,
  vocabulary: Vocabulary,
): FinishReason | undefined {
  const { sequence } = generation;
  if (result.prompt) keepPromptScores(generation, chunk.start + 1, result.prompt);
  if (!result.tokens) return chunk.last ? finish(generation, 'length') : undefined;
  const { drafts } = chunk;
  for (const [place, token] of result.tokens.entries()) {
    const reason = take(generation, token, vocabulary);
    if (reason) return reason;
    if (token.id !== drafts[place]) {
      generation.draftLength.saw(drafts.length, place);
      return undefined;
    }
    // The step has computed the guess that turned out right.
    sequence.computed += 1;
  }
  generation.draftLength.saw(drafts.length, drafts.length);
  return undefined;
}

/** Guesses what follows, for a step in which all running sequences draw: `rows` of them. At most `most` tokens. */
export function draft(generation: Generation, rows: number, most: number): void {
  const { sequence, draftLength, draws } = generation;
  if (!draws || sequence.computed + 1 !== sequence.tokens.length) return;
  const room = sequence.maxLength - sequence.tokens.length - 1;
  sequence.drafts = draftByNgram(sequence.tokens, draftLength.next(rows, Math.min(most, room)), ngrams);
}

/** Shorter matches are too often chance, and longer ones add nothing to what is found. */
const ngrams = { least: 3, most: 8 };

/** Takes in a token. Returns how the completion ended with it, if it did. */
function take(generation: Generation, token: ScoredToken, vocabulary: Vocabulary): FinishReason | undefined {
  const { sequence } = generation;
  checkScores(sequence, [token]);
  sequence.tokens.push(token.id);
  generation.drawnLogprob += token.logprob;
  const mayEnd = completionLength(sequence) > generation.minTokens;
  if (mayEnd && generation.endings.has(token.id)) return finish(generation, 'stop');
  generation.unreleased.push(token);
  const released = generation.text.push(vocabulary.tokenBytes(token.id), mayEnd);
  if (released.stopped) return send(generation, released, 'stop');
  if (sequence.tokens.length === sequence.maxLength) return finish(generation, 'length', released);
  if (released.tokens > 0 || released.text !== '') send(generation, released);
  return undefined;
}

/** `first` is the place of the first score in the prompt. A preempted sequence computes its prompt again: known scores are dropped. */
function keepPromptScores(generation: Generation, first: number, scores: readonly ScoredToken[]): void {
  checkScores(generation.sequence, scores);
  const fresh = scores.slice(Math.max(0, generation.promptScored + 1 - first));
  generation.promptScores.push(...fresh);
  generation.promptScored += fresh.length;
}

function checkScores(sequence: Sequence, scores: readonly ScoredToken[]): void {
  if (scores.every((score) => Number.isFinite(score.logprob))) return;
  const { promptLength, tokens } = sequence;
  throw new WindlassError(
    'WL_LOGITS_NOT_FINITE',
    `the model gave a probability that is not finite after ${promptLength} prompt and ${tokens.length - promptLength} generated tokens`,
  );
}

/** Ends with all text that was held back. A stop text can still end there only if the last bytes complete it. */
function finish(generation: Generation, reason: FinishReason, before?: Released): FinishReason {
  const rest = generation.text.end();
  const text = (before?.text ?? '') + rest.text;
  return send(generation, { ...rest, text, tokens: (before?.tokens ?? 0) + rest.tokens }, rest.stopped ? 'stop' : reason);
}

function send<R extends FinishReason | undefined>(generation: Generation, released: Released, reason?: R): R {
  const { sequence, queue, promptScores, index, drawnLogprob } = generation;
  const piece = {
    index,
    text: released.text,
    tokens: generation.unreleased.splice(0, released.tokens),
    drawnLogprob,
    usage: { promptTokens: sequence.promptLength, completionTokens: completionLength(sequence), cachedTokens: sequence.cached },
  };
  // Most pieces are neither the first nor the last.
  if (reason === undefined && promptScores.length === 0) queue.push(piece);
  else {
    queue.push({
      ...piece,
      ...(promptScores.length > 0 ? { prompt: promptScores.splice(0) } : {}),
      ...(reason === undefined ? {} : { finishReason: reason }),
    });
  }
  return reason as R;
}
