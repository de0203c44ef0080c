// A profile as a Chrome trace, which Perfetto opens: a process for each rank and each engine, a row for each of its streams. Pure.
import { accountsOf, coverage, gapsOf, totalOf } from './account.ts';
import type { Account } from './account.ts';
import type { ProfilePart, ProfileSpan } from './part.ts';

interface ChromeLimits {
  /** Spans in the file; of those that are too many, each process loses its last ones. */
  readonly maxSpans: number;
}

/** About 60 MB of JSON: what Perfetto opens without trouble. */
const defaultLimits: ChromeLimits = { maxSpans: 400_000 };

/** Gaps that are shorter are not worth an event; the accounts have them all the same. */
const leastGapUs = 20;

/** Trace Event Format: X is a span, M names a process or a row. Microseconds from the first event. */
interface ChromeEvent {
  readonly name: string;
  readonly cat?: string;
  readonly ph: 'X' | 'M';
  readonly ts?: number;
  readonly dur?: number;
  readonly pid: number;
  readonly tid: number;
  readonly args?: Readonly<Record<string, unknown>>;
}

interface Bounds {
  beginUs: number;
  endUs: number;
}

export interface ChromeTrace {
  readonly displayTimeUnit: 'ms';
  readonly otherData: {
    /** Spans that found no room. */
    readonly left: number;
    readonly windows: readonly (Account & { readonly process: string; readonly coverage: number })[];
    readonly total: Account;
  };
  readonly traceEvents: readonly ChromeEvent[];
}

/** Rows of a process: its steps and requests first, then its streams. */
const windowRow = 0;

export function chromeTrace(parts: readonly ProfilePart[], { maxSpans }: ChromeLimits = defaultLimits): ChromeTrace {
  const kept = parts
    .toSorted((a, b) => a.order - b.order || (a.process < b.process ? -1 : 1))
    .map((part) => cut(part, Math.floor(maxSpans / parts.length)));
  const startUs = kept.reduce((first, { spans, windows }) => earliest([...windows, ...spans], first), Infinity);
  const windows = kept.flatMap((part) =>
    accountsOf(part).map((account) => ({ process: part.process, coverage: coverage(account), ...account })),
  );
  return {
    displayTimeUnit: 'ms',
    otherData: {
      left: kept.reduce((sum, { left }) => sum + left, 0),
      windows,
      total: totalOf(windows, 'total'),
    },
    traceEvents: kept.flatMap((part, pid) => eventsOf(part, pid, startUs)),
  };
}

/** As many of the first spans as there is room for, and the windows that they cover to the end. */
function cut(part: ProfilePart, maxSpans: number): ProfilePart {
  if (part.spans.length <= maxSpans) return part;
  const spans = part.spans.toSorted((a, b) => a.endUs - b.endUs).slice(0, maxSpans);
  const endUs = spans.at(-1)?.endUs ?? -Infinity;
  const windows = part.windows.filter((window) => window.endUs <= endUs);
  return { ...part, spans, windows, left: part.left + part.spans.length - spans.length };
}

function earliest(of: readonly Pick<Bounds, 'beginUs'>[], before: number): number {
  return of.reduce((first, { beginUs }) => Math.min(first, beginUs), before);
}

function eventsOf(part: ProfilePart, pid: number, startUs: number): ChromeEvent[] {
  const named = (name: string, tid: number, words: string): ChromeEvent => ({ name, ph: 'M', pid, tid, args: { name: words } });
  const event = (name: string, cat: string, { beginUs, endUs }: Bounds, tid: number, args?: object): ChromeEvent => ({
    name,
    cat,
    ph: 'X',
    ts: round(beginUs - startUs),
    dur: round(endUs - beginUs),
    pid,
    tid,
    ...(args ? { args: { ...args } } : {}),
  });
  const accounts = accountsOf(part);
  return [
    named('process_name', windowRow, part.process),
    named('thread_name', windowRow, 'steps and requests'),
    ...part.rows.map((row, index) => named('thread_name', index + 1, row)),
    ...part.windows.map((window, index) =>
      event(window.name, 'window', window, windowRow, { ...window.args, coverage: round(coverage(accounts[index]!)) }),
    ),
    ...part.spans.map((span: ProfileSpan) => event(span.name, span.kind, span, span.row + 1)),
    ...gapsOf(part, leastGapUs).map((gap) => event('untraced', 'untraced', gap, gap.row + 1)),
  ];
}

function round(value: number): number {
  return Math.round(value * 1e3) / 1e3;
}
