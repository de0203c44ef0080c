// Work that all ranks must do: it succeeds on all of them or fails on all of them, for the same reason.
import { setTimeout as sleep } from 'node:timers/promises';
import { toWindlassError, WindlassError } from '#runtime/api/errors.ts';
import type { ErrorCode } from '#runtime/api/errors.ts';
import type { Exchange } from './exchange.ts';

/** The longest that a rank is silent while it works: well below the time after which the others take it for lost. */
const roundMs = 1000;

type Verdict =
  | { readonly value: string }
  | { readonly code: ErrorCode; readonly message: string; readonly details: Record<string, unknown> };

/** Does `work` here and learns what it came to on every rank. Throws, everywhere alike, what the lowest rank that failed met with. */
export async function together(exchange: Exchange, work: () => Promise<string>): Promise<string[]> {
  if (exchange.size === 1) return [await work()];
  let own: { readonly verdict: Verdict; readonly error?: WindlassError } | undefined;
  const running = work().then(
    (value) => {
      own = { verdict: { value } };
    },
    (thrown: unknown) => {
      const error = toWindlassError(thrown);
      own = { verdict: { code: error.code, message: error.message, details: error.details }, error };
    },
  );
  for (;;) {
    if (!own) await Promise.race([running, sleep(roundMs, undefined, { ref: false })]);
    const said = await exchange.allGather(JSON.stringify(own?.verdict ?? null));
    const verdicts = said.flatMap((text) => (JSON.parse(text) as Verdict | null) ?? []);
    if (verdicts.length === exchange.size) return verdicts.map((verdict, rank) => valueOf(verdict, rank, own?.error));
  }
}

function valueOf(verdict: Verdict, rank: number, cause: WindlassError | undefined): string {
  if ('value' in verdict) return verdict.value;
  const { code, message, details } = verdict;
  throw new WindlassError(code, `rank ${rank}: ${message}`, { cause, details: { ...details, rank } });
}
