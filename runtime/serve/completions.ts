// POST /v1/completions: prompts as text or tokens, in the shape of the OpenAI protocol.
import { z } from 'zod';
import type { ScoredToken } from '#runtime/engine/main.ts';
import { chunkText } from './chunk-text.ts';
import { tokenText } from './codec.ts';
import type { TextCodec } from './codec.ts';
import type { Completion, Exchange } from './exchange.ts';
import type { ServerLimits } from './limits.ts';
import { commonParameters, madeOnce, readParameters, refuse, samplingOf } from './parameters.ts';
import { promptLogprobsOf } from './prompt-logprobs.ts';

/** What the protocols need to know of the server. */
export interface Served {
  readonly model: string;
  readonly codec: TextCodec;
  readonly limits: ServerLimits;
  readonly contextLength: number;
  /** Seconds since 1970. */
  readonly created: number;
  readonly id: string;
}

/** Without max_tokens the protocol generates this many, as far as the context has room. */
const defaultMaxTokens = 16;

const parameters = madeOnce((limits) =>
  z.object({
    ...commonParameters(limits),
    /** Checked by `promptsOf`: a schema would describe each of a million wrong tokens. */
    prompt: z.unknown().optional(),
    max_tokens: z.int().min(0).optional(),
    logprobs: z.int().min(0).max(limits.topLogprobs).optional(),
    echo: z.boolean().default(false),
    best_of: z.int().min(1).max(limits.n).optional(),
  }),
);

/** Throws WL_REQUEST_INVALID, naming the parameter, or WL_PROMPT_TOO_LONG. */
export function completionsExchange(body: unknown, served: Served): Exchange {
  const given = readParameters(parameters(served.limits), body);
  const { logprobs, echo, best_of: drawn = given.n } = given;
  if (drawn < given.n) refuse('best_of', `best_of: ${drawn} completions are fewer than the ${given.n} that n asks for`);
  if (given.best_of !== undefined && drawn > 1 && given.stream)
    refuse('best_of', 'best_of: which completions are best is known at their end; set stream: false');
  if (given.max_tokens === 0 && !echo)
    refuse('max_tokens', 'max_tokens: 0 generates nothing; set echo: true to score the prompt only');
  const echoScores = echo ? logprobs : undefined;
  const promptLogprobs = given.prompt_logprobs === undefined ? echoScores : Math.max(given.prompt_logprobs, echoScores ?? 0);
  if (echoScores !== undefined && given.stream && given.n > 1)
    refuse('n', 'n: a stream that scores its prompt has one completion');
  const prompts = promptsOf(given.prompt, served.limits.prompts);
  const tokens = prompts.map((prompt) => (typeof prompt === 'string' ? served.codec.encode(prompt) : prompt));
  const head = { id: `cmpl-${served.id}`, object: 'text_completion', created: served.created, model: served.model };
  const includeUsage = given.stream_options?.include_usage ?? false;
  const chunk = chunkText(head, given.stream_options);
  const offsets = new Map<number, number>();
  const placed = (request: number, index: number, completion: Piece) => {
    const place = request * given.n + index;
    const begins = !offsets.has(place);
    const echoed = echo && begins;
    const offset = offsets.get(place) ?? 0;
    const text = (echoed ? textOf(prompts[request]!, served.codec) : '') + completion.text;
    offsets.set(place, offset + text.length);
    if (logprobs === undefined) return { place, text, scores: null };
    const scored = [...(echoed ? [tokens[request]![0]!, ...completion.prompt] : []), ...completion.tokens];
    return { place, text, scores: logprobsOf(scored, logprobs, offset, served.codec) };
  };
  const choice = (request: number, index: number, completion: Completion) => {
    const { place, text, scores } = placed(request, index, completion);
    return {
      index: place,
      text,
      logprobs: scores,
      finish_reason: completion.finishReason,
      ...(given.prompt_logprobs === undefined
        ? {}
        : { prompt_logprobs: promptLogprobsOf(completion.prompt, given.prompt_logprobs, served.codec) }),
    };
  };
  return {
    requests: tokens.map((prompt) => ({
      ...samplingOf(given),
      n: drawn,
      prompt,
      maxTokens: given.max_tokens ?? Math.max(1, Math.min(defaultMaxTokens, served.contextLength - prompt.length)),
      ...(logprobs === undefined ? {} : { logprobs }),
      ...(promptLogprobs === undefined ? {} : { promptLogprobs }),
    })),
    stream: given.stream,
    includeUsage,
    opening: () => [],
    chunk: (request, piece, usage) => {
      const { text: added, tokens: drawn, prompt = [], finishReason } = piece;
      const { place, text, scores } = placed(request, piece.index, { text: added, tokens: drawn, prompt });
      const reason = finishReason === undefined ? 'null' : `"${finishReason}"`;
      const logprobsText = scores === null ? 'null' : JSON.stringify(scores);
      return chunk(
        `{"index":${place},"text":${JSON.stringify(text)},"logprobs":${logprobsText},"finish_reason":${reason}}`,
        usage,
      );
    },
    usageChunk: (usage) => ({ ...head, choices: [], usage }),
    answer(completions, usage) {
      const whole = completions.map((row) => row.map((completion) => ({ ...completion, prompt: row[0]!.prompt })));
      const rows = given.best_of === undefined ? whole : whole.map((row) => bestOf(row).slice(0, given.n));
      return { ...head, choices: rows.flatMap((row, request) => row.map((item, index) => choice(request, index, item))), usage };
    },
  };
}

/** The likeliest per token first; of equals the one that was drawn first. */
function bestOf<C extends Pick<Completion, 'meanLogprob'>>(completions: readonly C[]): C[] {
  return completions.toSorted((a, b) => b.meanLogprob - a.meanLogprob);
}

type Piece = Pick<Completion, 'text' | 'tokens' | 'prompt'>;

/** A text, the tokens of one, or several of either. */
function promptsOf(prompt: unknown, most: number): (string | number[])[] {
  if (typeof prompt === 'string') return [prompt];
  const entries = Array.isArray(prompt) ? (prompt as unknown[]) : [];
  if (isTokens(entries)) return [entries];
  if (
    entries.length > 0 &&
    entries.length <= most &&
    (entries.every((entry) => typeof entry === 'string') || entries.every(isTokens))
  )
    return entries;
  refuse('prompt', `prompt: expected a text, a list of token ids, or 1 to ${most} of either`);
}

function isTokens(value: unknown): value is number[] {
  return Array.isArray(value) && value.length > 0 && value.every((id) => Number.isSafeInteger(id) && id >= 0);
}

function textOf(prompt: string | readonly number[], codec: TextCodec): string {
  return typeof prompt === 'string' ? prompt : Buffer.concat(prompt.map((id) => codec.tokenBytes(id))).toString('utf8');
}

/** A number stands for the first token of a prompt, of which nothing is known. */
function logprobsOf(tokens: readonly (ScoredToken | number)[], count: number, start: number, codec: TextCodec) {
  const text = (id: number) => tokenText(codec.tokenBytes(id));
  const idOf = (token: ScoredToken | number) => (typeof token === 'number' ? token : token.id);
  const names = tokens.map((token) => text(idOf(token)));
  const offsets: number[] = [];
  let offset = start;
  for (const token of tokens) {
    offsets.push(offset);
    offset += Buffer.from(codec.tokenBytes(idOf(token))).toString('utf8').length;
  }
  return {
    tokens: names,
    token_logprobs: tokens.map((token) => (typeof token === 'number' ? null : token.logprob)),
    top_logprobs:
      count === 0
        ? null
        : tokens.map((token) =>
            typeof token === 'number'
              ? null
              : Object.fromEntries(token.top.slice(0, count).map((top) => [text(top.id), top.logprob])),
          ),
    text_offset: offsets,
  };
}
