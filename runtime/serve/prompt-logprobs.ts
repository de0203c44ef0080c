// Scores of a prompt's tokens in the shape of vLLM.
import type { ScoredToken } from '#runtime/engine/main.ts';
import { tokenText } from './codec.ts';
import type { TextCodec } from './codec.ts';

/**
 * One entry for each token of the prompt: null for the first, of which nothing is known, then the token and the `count` most likely ones by
 * their ids. Ranks count from 1; a token that is not among those has none.
 */
export function promptLogprobsOf(scores: readonly ScoredToken[], count: number, codec: TextCodec): (object | null)[] {
  return [null, ...scores.map((score) => entryOf(score, count, codec))];
}

function entryOf({ id, logprob, top }: ScoredToken, count: number, codec: TextCodec): object {
  const shown = (token: number, value: number, rank: number | null) => ({
    logprob: value,
    rank,
    decoded_token: tokenText(codec.tokenBytes(token)),
  });
  const likely = top.slice(0, count);
  return Object.fromEntries([
    [id, shown(id, logprob, null)],
    ...likely.map((entry, index) => [entry.id, shown(entry.id, entry.logprob, index + 1)] as const),
  ]);
}
