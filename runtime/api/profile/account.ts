// Where the time of a step or a request went: by operation, to the last microsecond. Pure.
import type { ProfilePart, ProfileSpan, ProfileWindow, SpanKind } from './part.ts';

interface AccountEntry {
  readonly name: string;
  readonly kind: SpanKind;
  readonly calls: number;
  readonly milliseconds: number;
}

export interface Account {
  readonly name: string;
  readonly wallMs: number;
  /** What no span covers. */
  readonly untracedMs: number;
  /** Most time first; together with what is untraced they are the wall time. */
  readonly entries: readonly AccountEntry[];
}

export interface Gap {
  readonly row: number;
  readonly beginUs: number;
  readonly endUs: number;
}

/** The account of each window of a part. */
export function accountsOf(part: Pick<ProfilePart, 'spans' | 'windows'>): Account[] {
  return part.windows.map((window) => {
    const inside = clipped(part.spans, window);
    const wallMs = (window.endUs - window.beginUs) / 1e3;
    const entries = entriesOf(inside);
    const tracedMs = entries.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
    return { name: window.name, wallMs, untracedMs: wallMs - tracedMs, entries };
  });
}

/** Share of a window's time that its entries account for, from 0 to 1. */
export function coverage({ wallMs, untracedMs }: Account): number {
  return 1 - untracedMs / wallMs;
}

/** One account of all: what the windows of a process, or of several, have in common. */
export function totalOf(accounts: readonly Account[], name: string): Account {
  const all = accounts.flatMap(({ entries }) => entries);
  const groups = Map.groupBy(all, entryKey);
  const entries = [...groups.values()].map((same) => ({
    name: same[0]!.name,
    kind: same[0]!.kind,
    calls: same.reduce((sum, { calls }) => sum + calls, 0),
    milliseconds: same.reduce((sum, { milliseconds }) => sum + milliseconds, 0),
  }));
  const sum = (of: (account: Account) => number) => accounts.reduce((total, account) => total + of(account), 0);
  return { name, wallMs: sum(({ wallMs }) => wallMs), untracedMs: sum(({ untracedMs }) => untracedMs), entries: byTime(entries) };
}

/** Where a window has no span for at least so long. */
export function gapsOf({ spans, windows }: Pick<ProfilePart, 'spans' | 'windows'>, leastUs: number): Gap[] {
  return windows.flatMap((window) => {
    const gaps: Gap[] = [];
    let covered = window.beginUs;
    const end = { beginUs: window.endUs, endUs: window.endUs };
    for (const { beginUs, endUs } of [...clipped(spans, window), end]) {
      if (beginUs - covered >= leastUs) gaps.push({ row: window.row, beginUs: covered, endUs: beginUs });
      covered = Math.max(covered, endUs);
    }
    return gaps;
  });
}

/** The spans of the window's row, cut to what lies inside it and not under the one before, in their order. */
function clipped(spans: readonly ProfileSpan[], { row, beginUs, endUs }: ProfileWindow): ProfileSpan[] {
  const inside = spans.filter((span) => span.row === row && span.endUs > beginUs && span.beginUs < endUs);
  let covered = beginUs;
  return inside
    .toSorted((a, b) => a.beginUs - b.beginUs)
    .map((span) => {
      const begin = Math.max(span.beginUs, covered);
      covered = Math.max(covered, Math.min(span.endUs, endUs));
      return { ...span, beginUs: begin, endUs: Math.max(begin, Math.min(span.endUs, endUs)) };
    });
}

function entriesOf(spans: readonly ProfileSpan[]): AccountEntry[] {
  const groups = Map.groupBy(spans, entryKey);
  return byTime(
    [...groups.values()].map((same) => ({
      name: same[0]!.name,
      kind: same[0]!.kind,
      calls: same.length,
      milliseconds: same.reduce((sum, { beginUs, endUs }) => sum + (endUs - beginUs), 0) / 1e3,
    })),
  );
}

function entryKey({ name, kind }: { readonly name: string; readonly kind: SpanKind }): string {
  return `${kind} ${name}`;
}

function byTime(entries: readonly AccountEntry[]): AccountEntry[] {
  return entries.toSorted((a, b) => b.milliseconds - a.milliseconds);
}
