// Chunks that are put together from texts are what JSON.stringify would have made of them.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { chatExchange } from './chat.ts';
import { completionsExchange } from './completions.ts';
import { UsageTotals } from './exchange.ts';
import { defaultLimits } from './limits.ts';
import { byteCodec } from './testing.ts';
import type { Answer } from './testing.ts';

const anyText = fc.string({
  unit: fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom('"', '\\', '\n', '\u2028', '\ud83d')),
});
const protocols = {
  completions: { exchange: completionsExchange, prompt: { prompt: 'a' }, text: ({ choices }: Answer) => choices[0]!.text },
  chat: {
    exchange: chatExchange,
    prompt: { messages: [{ role: 'user', content: 'a' }] },
    text: ({ choices }: Answer) => choices[0]!.delta.content ?? '',
  },
};

describe.each(Object.entries(protocols))('a chunk of %s', (_name, { exchange, prompt, text }) => {
  it('is JSON as JSON.stringify writes it, whatever the text and the name of the model are', () => {
    const options = fc.constantFrom(undefined, { include_usage: true }, { include_usage: true, continuous_usage_stats: true });
    const reasons = fc.constantFrom('stop' as const, 'length' as const, undefined);
    fc.assert(
      fc.property(anyText, anyText, options, reasons, fc.boolean(), (said, model, stream_options, reason, scored) => {
        const logprobs = scored ? { logprobs: exchange === chatExchange ? true : 0 } : {};
        const body = { ...prompt, stream: true, ...logprobs, ...(stream_options ? { stream_options } : {}) };
        const served = { model, codec: byteCodec, limits: defaultLimits, contextLength: 128, created: 1, id: 'x' };
        const piece = {
          index: 0,
          text: said,
          tokens: [{ id: 34, logprob: -0.5, top: [] }],
          drawnLogprob: -0.5,
          usage: { promptTokens: 1, completionTokens: 1, cachedTokens: 0 },
          ...(reason ? { finishReason: reason } : {}),
        };
        const usage = new UsageTotals();
        usage.see(0, piece);
        const made = exchange(body, served);
        for (const chunk of [...made.opening(usage), made.chunk(0, piece, usage)]) {
          expect(JSON.stringify(JSON.parse(chunk))).toBe(chunk);
          expect(JSON.parse(chunk)).toMatchObject({ model });
        }
        const answer = JSON.parse(made.chunk(0, piece, usage)) as Answer;
        expect(text(answer)).toBe(said);
        expect(answer.choices[0]!.finish_reason).toBe(reason ?? null);
      }),
    );
  });
});
