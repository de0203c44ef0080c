// One exchange: a request of a protocol as engine requests, and their pieces as the protocol's answer, whole or as a stream.
import type { FinishReason, GenerateRequest, Output, ScoredToken, Usage } from '#runtime/engine/main.ts';

/** A finished completion. */
export interface Completion {
  readonly text: string;
  readonly tokens: readonly ScoredToken[];
  readonly prompt: readonly ScoredToken[];
  readonly finishReason: FinishReason;
  /** Mean log-probability of all tokens drawn, that which ended it included; 0 if none was. */
  readonly meanLogprob: number;
}

/** What a protocol makes of a request; pure but for ids and time. */
export interface Exchange {
  readonly requests: readonly GenerateRequest[];
  readonly stream: boolean;
  readonly includeUsage: boolean;
  /** The chunks before the first piece of a stream, as JSON; `usage` knows that piece. */
  opening(usage: UsageTotals): readonly string[];
  /** The chunk for a piece of request `request`, as JSON; `usage` is that of all pieces so far. */
  chunk(request: number, piece: Output, usage: UsageTotals): string;
  /** The last chunk, where usage was asked for. */
  usageChunk(usage: object): object;
  /** The whole answer; completions[request][index]. */
  answer(completions: readonly (readonly Completion[])[], usage: object): object;
}

/** Starts generation; the streams stand in the order of the requests. */
export type Generate = (request: GenerateRequest) => AsyncIterable<Output>;

/**
 * Starts all requests of an exchange at once and calls `onPiece` as their pieces come, waiting for it where it says so. Resolves with the usage when all have
 * ended; rejects with the first error. If one is refused, those before it must be aborted by the caller.
 */
export async function runExchange(
  exchange: Exchange,
  generate: Generate,
  onPiece: (request: number, piece: Output, usage: UsageTotals) => Promise<void> | undefined | void,
): Promise<UsageTotals> {
  const streams = exchange.requests.map((request) => generate(request));
  const usage = new UsageTotals();
  await Promise.all(
    streams.map(async (stream, request) => {
      for await (const piece of stream) {
        usage.see(request, piece);
        const pause = onPiece(request, piece, usage);
        if (pause) await pause;
      }
    }),
  );
  return usage;
}

interface Collected {
  text: string;
  tokens: ScoredToken[];
  prompt: ScoredToken[];
  finishReason: FinishReason;
  meanLogprob: number;
}

/** Collects pieces into completions. */
export class Collector {
  readonly #completions: Collected[][] = [];

  add(request: number, piece: Output): void {
    const row = (this.#completions[request] ??= []);
    const completion = (row[piece.index] ??= { text: '', tokens: [], prompt: [], finishReason: 'length', meanLogprob: 0 });
    completion.text += piece.text;
    completion.tokens.push(...piece.tokens);
    completion.prompt.push(...(piece.prompt ?? []));
    if (piece.finishReason) completion.finishReason = piece.finishReason;
    completion.meanLogprob = piece.drawnLogprob / Math.max(1, piece.usage.completionTokens);
  }

  get completions(): readonly (readonly Completion[])[] {
    return this.#completions;
  }
}

/** Tokens of an exchange: a prompt counts once for all its completions. */
export class UsageTotals {
  /** The newest of each completion, by request. */
  readonly #seen: Usage[][] = [];

  see(request: number, piece: Output): void {
    (this.#seen[request] ??= [])[piece.index] = piece.usage;
  }

  get promptTokens(): number {
    return sum(this.#prompts, (usage) => usage.promptTokens);
  }

  get completionTokens(): number {
    return sum(this.#seen.flat(), (usage) => usage.completionTokens);
  }

  /** As the protocol spells it. */
  toJson(): object {
    return {
      prompt_tokens: this.promptTokens,
      completion_tokens: this.completionTokens,
      total_tokens: this.promptTokens + this.completionTokens,
      prompt_tokens_details: { cached_tokens: sum(this.#prompts, (usage) => usage.cachedTokens) },
    };
  }

  get #prompts(): Usage[] {
    return this.#seen.flatMap(([first]) => first ?? []);
  }
}

function sum(usages: readonly Usage[], of: (usage: Usage) => number): number {
  return usages.reduce((total, usage) => total + of(usage), 0);
}
