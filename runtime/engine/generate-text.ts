// One text from a model in memory, without a server: the samples of a training run.
import { WindlassError } from '#runtime/api/errors.ts';
import type { Model } from '#runtime/model/main.ts';
import type { Tokenizer } from '#runtime/tokenizer/main.ts';
import { Engine } from './engine.ts';
import { ModelRunner } from './model-runner.ts';
import { vocabularyOf } from './vocabulary.ts';

export interface GenerateTextOptions {
  /** Tokens to generate at most; generation also ends where the context does. */
  readonly tokens: number;
  /** Default 1; 0 is greedy. */
  readonly temperature?: number;
  /** Default 0. The same model, prompt and seed give the same text. */
  readonly seed?: number;
}

const blockSize = 16;

/**
 * Continues `prompt` and gives the text that was added. Uses the weights as they are when a step runs: keep them unchanged until the
 * promise settles. The cache it needs is freed then. Throws WL_PROMPT_TOO_LONG.
 */
export async function generateText(
  model: Model,
  tokenizer: Tokenizer,
  prompt: string,
  options: GenerateTextOptions,
): Promise<string> {
  const { contextLength } = model.config;
  const ids = tokenizer.encode(prompt);
  const start = ids.length > 0 ? ids : [tokenizer.bos ?? tokenizer.eos ?? 0];
  const maxTokens = Math.min(options.tokens, contextLength - start.length);
  if (maxTokens < 1) {
    throw new WindlassError(
      'WL_PROMPT_TOO_LONG',
      `${start.length} prompt tokens leave no room in the context of ${contextLength} tokens`,
    );
  }
  const runner = new ModelRunner(model, { blocks: Math.ceil((start.length + maxTokens) / blockSize), blockSize });
  const engine = new Engine({
    runner,
    vocabulary: vocabularyOf(tokenizer, model.config),
    limits: { contextLength, maxSequences: 1, maxBatchedTokens: maxPromptChunk, maxWaiting: 1, prefixCache: false },
    now: () => 0,
    randomSeed: () => 0n,
    hashSeed: '',
  });
  try {
    let text = '';
    const request = { prompt: start, maxTokens, temperature: options.temperature ?? 1, seed: options.seed ?? 0 };
    for await (const piece of engine.generate(request)) text += piece.text;
    return text;
  } finally {
    await engine.close();
  }
}

const maxPromptChunk = 256;
