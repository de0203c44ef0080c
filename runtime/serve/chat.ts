// POST /v1/chat/completions: conversations, in the shape of the OpenAI protocol.
import { z } from 'zod';
import type { ScoredToken } from '#runtime/engine/main.ts';
import { chunkText } from './chunk-text.ts';
import { tokenText } from './codec.ts';
import type { TextCodec } from './codec.ts';
import type { Served } from './completions.ts';
import type { Exchange } from './exchange.ts';
import { commonParameters, madeOnce, readParameters, refuse, samplingOf } from './parameters.ts';
import { promptLogprobsOf } from './prompt-logprobs.ts';

const Content = z
  .union([z.string(), z.array(z.strictObject({ type: z.literal('text'), text: z.string() }))], {
    error: 'expected a text, or parts of type text',
  })
  .transform((content) => (typeof content === 'string' ? content : content.map((part) => part.text).join('')));
const Message = z.strictObject({
  // What the newer name means to the models that know only the older one.
  role: z.enum(['system', 'developer', 'user', 'assistant']).transform((role) => (role === 'developer' ? 'system' : role)),
  content: Content,
});

const parameters = madeOnce((limits) =>
  z.object({
    ...commonParameters(limits),
    messages: z.array(Message).min(1).max(limits.messages),
    max_tokens: z.int().min(1).optional(),
    max_completion_tokens: z.int().min(1).optional(),
    logprobs: z.boolean().default(false),
    top_logprobs: z.int().min(0).max(limits.topLogprobs).optional(),
  }),
);

/** Throws WL_REQUEST_INVALID, naming the parameter, or WL_PROMPT_TOO_LONG. */
export function chatExchange(body: unknown, served: Served): Exchange {
  const given = readParameters(parameters(served.limits), body);
  if (given.top_logprobs !== undefined && !given.logprobs) refuse('top_logprobs', 'top_logprobs needs logprobs: true');
  const maxTokens = given.max_completion_tokens ?? given.max_tokens;
  const head = { id: `chatcmpl-${served.id}`, created: served.created, model: served.model };
  const includeUsage = given.stream_options?.include_usage ?? false;
  const chunk = chunkText({ ...head, object: 'chat.completion.chunk' }, given.stream_options);
  const scores = (tokens: readonly ScoredToken[]) =>
    given.logprobs ? { content: tokens.map((token) => scoreOf(token, served.codec)), refusal: null } : null;
  return {
    requests: [
      {
        ...samplingOf(given),
        prompt: served.codec.encodeChat(given.messages),
        ...(maxTokens === undefined ? {} : { maxTokens }),
        ...(given.logprobs ? { logprobs: given.top_logprobs ?? 0 } : {}),
      },
    ],
    stream: given.stream,
    includeUsage,
    opening: (usage) =>
      Array.from({ length: given.n }, (_, index) =>
        chunk(`{"index":${index},"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}`, usage),
      ),
    chunk: (_request, { index, text, tokens, finishReason }, usage) => {
      const delta = text === '' ? '{}' : `{"content":${JSON.stringify(text)}}`;
      const logprobs = given.logprobs && tokens.length > 0 ? JSON.stringify(scores(tokens)) : 'null';
      const reason = finishReason === undefined ? 'null' : `"${finishReason}"`;
      return chunk(`{"index":${index},"delta":${delta},"logprobs":${logprobs},"finish_reason":${reason}}`, usage);
    },
    usageChunk: (usage) => ({ ...head, object: 'chat.completion.chunk', choices: [], usage }),
    answer: (completions, usage) => ({
      ...head,
      object: 'chat.completion',
      choices: completions.flat().map(({ text, tokens, finishReason }, index) => ({
        index,
        message: { role: 'assistant', content: text, refusal: null },
        logprobs: scores(tokens),
        finish_reason: finishReason,
      })),
      usage,
      ...(given.prompt_logprobs === undefined
        ? {}
        : { prompt_logprobs: promptLogprobsOf(completions[0]![0]!.prompt, given.prompt_logprobs, served.codec) }),
    }),
  };
}

function scoreOf(token: ScoredToken, codec: TextCodec) {
  const shown = (id: number, logprob: number) => {
    const bytes = codec.tokenBytes(id);
    return { token: tokenText(bytes), logprob, bytes: [...bytes] };
  };
  return { ...shown(token.id, token.logprob), top_logprobs: token.top.map(({ id, logprob }) => shown(id, logprob)) };
}
