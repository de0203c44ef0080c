// The chunks of a stream as JSON: what all chunks of a request share is made once.
import type { UsageTotals } from './exchange.ts';

/** What a request says about its stream. */
interface StreamOptions {
  readonly include_usage: boolean;
  readonly continuous_usage_stats: boolean;
}

/** The chunk of a choice, which is JSON itself; `usage` is that of all pieces so far. */
export type ChunkText = (choice: string, usage: UsageTotals) => string;

/** `head`: the fields before the choices. A chunk says of usage nothing, null where the last chunk will say it, or what it is so far. */
export function chunkText(head: object, asked: StreamOptions | undefined): ChunkText {
  const begin = `${JSON.stringify(head).slice(0, -1)},"choices":[`;
  if (!asked?.include_usage) return (choice) => `${begin}${choice}]}`;
  if (!asked.continuous_usage_stats) return (choice) => `${begin}${choice}],"usage":null}`;
  return (choice, usage) => `${begin}${choice}],"usage":${JSON.stringify(usage.toJson())}}`;
}
