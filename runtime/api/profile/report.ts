// A profile in a few lines: what was recorded, and where most of its time went.
import { coverage } from './account.ts';
import type { ChromeTrace } from './chrome.ts';

/** Operations that are named; the rest is summed up. */
const namedEntries = 8;

export function profileReport({ otherData: { windows, total, left } }: ChromeTrace): string {
  const lines = [`${counted(windows)}, ${share(coverage(total))} of their time accounted for`];
  const shown = total.entries.slice(0, namedEntries);
  for (const { name, calls, milliseconds } of shown)
    lines.push(`  ${share(milliseconds / total.wallMs).padStart(6)}  ${name}, ${calls} times`);
  const rest = total.entries.slice(namedEntries).reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  if (rest > 0) lines.push(`  ${share(rest / total.wallMs).padStart(6)}  ${total.entries.length - shown.length} others`);
  if (left > 0) lines.push(`  ${left} later events found no room`);
  return lines.map((line) => `${line}\n`).join('');
}

/** `6 steps and 1 request`. */
function counted(windows: ChromeTrace['otherData']['windows']): string {
  const kinds = Map.groupBy(windows, ({ name }) => name.split(' ')[0]!);
  return [...kinds].map(([kind, { length }]) => `${length} ${kind}${length === 1 ? '' : 's'}`).join(' and ');
}

function share(of: number): string {
  return `${(100 * of).toFixed(1)} %`;
}
