// Work that all ranks must do: it succeeds on all of them or fails on all of them, for the same reason.
import { toWindlassError, WindlassError } from '#runtime/api/errors.ts';
import type { ErrorCode } from '#runtime/api/errors.ts';
import type { Exchange } from './exchange.ts';

type Verdict =
  | { readonly value: string }
  | { readonly code: ErrorCode; readonly message: string; readonly details: Record<string, unknown> };

/** Does `work` here and learns what it came to on every rank. Throws, everywhere alike, what the lowest rank that failed met with. */
export async function together(exchange: Exchange, work: () => Promise<string>): Promise<string[]> {
  let own: WindlassError | undefined;
  const verdict: Verdict = await work().then(
    (value) => ({ value }),
    (thrown: unknown) => {
      own = toWindlassError(thrown);
      return { code: own.code, message: own.message, details: own.details };
    },
  );
  const verdicts = (await exchange.allGather(JSON.stringify(verdict))).map((text) => JSON.parse(text) as Verdict);
  return verdicts.map((verdict, rank) => {
    if ('value' in verdict) return verdict.value;
    if (exchange.size === 1 && own) throw own;
    const { code, message, details } = verdict;
    throw new WindlassError(code, `rank ${rank}: ${message}`, { cause: own, details: { ...details, rank } });
  });
}
