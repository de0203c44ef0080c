// A profile in a few lines: what was recorded, and where most of its time went.
import { coverage, totalOf } from './account.ts';
import type { Account } from './account.ts';
import type { ChromeTrace } from './chrome.ts';

/** Operations that are named; the rest is summed up. */
const namedEntries = 8;

export function profileReport({ otherData: { windows, left } }: ChromeTrace): string {
  const kinds = Map.groupBy(windows, ({ name }) => name.split(' ')[0]!);
  const lines = [...kinds].flatMap(([kind, same]) => linesOf(kind, same));
  if (left > 0) lines.push(`${left} later events found no room`);
  return lines.map((line) => `${line}\n`).join('');
}

/** Of all steps, or of all requests. */
function linesOf(kind: string, accounts: readonly Account[]): string[] {
  const total = totalOf(accounts, kind);
  const count = accounts.length;
  const share = (milliseconds: number) => `${((100 * milliseconds) / total.wallMs).toFixed(1)} %`.padStart(8);
  const accounted = `${(100 * coverage(total)).toFixed(1)} % of it accounted for`;
  const each = `${(total.wallMs / count).toFixed(1)} ms`;
  const lines = [`${count === 1 ? `1 ${kind} of ${each}` : `${count} ${kind}s of ${each} on average`}, ${accounted}:`];
  for (const { name, calls, milliseconds } of total.entries.slice(0, namedEntries))
    lines.push(`${share(milliseconds)}  ${name} (${calls})`);
  const rest = total.entries.slice(namedEntries);
  const restMs = rest.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  if (rest.length > 0) lines.push(`${share(restMs)}  ${rest.length} others`);
  return lines;
}
