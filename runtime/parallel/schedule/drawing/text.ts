// A timeline for the terminal: one line per rank.
import type { ComputeType } from '#runtime/api/schedule/action.ts';
import { isCompute } from '#runtime/api/schedule/action.ts';
import type { Span } from '../timing/figures.ts';
import { timelineFigures } from '../timing/figures.ts';
import { chunkNumbers } from './chunks.ts';

const kinds: Readonly<Record<ComputeType, { readonly letter: string; readonly name: string }>> = {
  forward: { letter: 'F', name: 'forward' },
  backward: { letter: 'B', name: 'backward' },
  backwardInput: { letter: 'I', name: 'input gradient' },
  backwardWeight: { letter: 'W', name: 'weight gradient' },
};

/**
 * Lines of at most `columns` characters. An action is its letter, the grain if there is room, and dashes up to its end; small
 * letters are a rank's later stages; the share of idle time stands at the end. Actions shorter than half a column may be missing.
 */
export function timelineText(spans: readonly Span[], columns = 80): string {
  const figures = timelineFigures(spans);
  const compute = spans.filter(isCompute);
  if (compute.length === 0) return 'nothing was computed';
  const chunkOf = chunkNumbers(spans);
  const left = `rank ${figures.ranks.length - 1} |`.length;
  const scale = columnsPerTime(compute, figures.length, columns - left - '|100 %'.length);
  const column = (time: number) => Math.round((time - figures.start) * scale);
  const length = column(figures.end);
  const hasNumbers = shortestOf(compute) * scale >= 2;
  const rows = figures.ranks.map(({ bubble }, rank) => {
    const cells = Array<string>(length).fill(' ');
    for (const span of compute) {
      if (span.rank !== rank) continue;
      const [from, to] = [column(span.start), column(span.end)];
      const { letter } = kinds[span.type];
      const initial = chunkOf(span) === 0 ? letter : letter.toLowerCase();
      const label = hasNumbers && `${span.grain}`.length < to - from ? `${initial}${span.grain}` : initial;
      for (let at = from; at < to; at += 1) cells[at] = label[at - from] ?? '-';
    }
    return `${`rank ${rank} `.padEnd(left - 1)}|${cells.join('')}|${`${Math.round(100 * bubble)} %`.padStart(5)}`;
  });
  const legend = Object.entries(kinds)
    .filter(([type]) => compute.some((span) => span.type === type))
    .map(([, { letter, name }]) => `${letter} ${name}`);
  const last = `${legend.join('  ')}; bubble ${(100 * figures.bubble).toFixed(1)} %`;
  const indent = Math.max(0, Math.min(left, columns - last.length));
  return [...rows, ' '.repeat(indent) + last].join('\n');
}

/** As many as fit; if all actions last a multiple of the shortest, a whole number for that, so that equal actions look equal. */
function columnsPerTime(compute: readonly Span[], length: number, room: number): number {
  const shortest = shortestOf(compute);
  const most = room / length;
  const areEven = compute.every(({ start, end }) => isWhole((end - start) / shortest));
  return areEven && most * shortest >= 1 ? Math.floor(most * shortest + 1e-9) / shortest : most;
}

function shortestOf(compute: readonly Span[]): number {
  return compute.reduce((least, { start, end }) => Math.min(least, end - start), Infinity);
}

function isWhole(value: number): boolean {
  return Math.abs(value - Math.round(value)) < 1e-9;
}
