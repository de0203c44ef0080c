// A timeline as an SVG drawing: a row per rank, a box per action, readable on light and dark pages.
import { isCompute } from '#runtime/api/schedule/action.ts';
import type { Span } from '../timing/figures.ts';
import { timelineFigures } from '../timing/figures.ts';
import { chunkNumbers } from './chunks.ts';
import { coordinate, escapeXml, percent, tickStep, time } from './numbers.ts';
import type { Look } from './theme.ts';
import { kinds, lookOf, styleSheet } from './theme.ts';

export interface TimelineOptions {
  readonly title: string;
  /** Unit of the spans' times; none for times in multiples of something. */
  readonly unit?: string;
  /** Pixels. Default 960. */
  readonly width?: number;
  /** A hint with action and times at each box, about 100 bytes each. Default false. */
  readonly hints?: boolean;
  /** Time that the whole width stands for, if it is more than the spans take: gives several timelines one scale. */
  readonly length?: number;
}

const left = 62;
const right = 58;
const top = 74;
const boxHeight = 24;
/** Bars below the boxes, for transfers and sharding beside the computation. */
const barHeight = 5;
const rowGap = 8;
/** Between two timelines. */
const partGap = 12;
/** Least distance of two ticks of the time axis. */
const tickWidth = 58;
const digitWidth = 6.3;
const letterWidth = 6.4;

/**
 * Boxes of compute actions carry their grain where there is room; a rank's later stages are lighter. What runs beside the
 * computation is a bar below. Figures at the right and in the heading count compute actions only (`timelineFigures`). About 60
 * bytes per action.
 */
export function timelineSvg(spans: readonly Span[], options: TimelineOptions): string {
  return draw(spans, options, 0).svg;
}

interface Timeline {
  readonly title: string;
  readonly spans: readonly Span[];
}

/** Timelines one below the other, in one drawing and one scale; `title` of the options names them together. */
export function timelinesSvg(timelines: readonly Timeline[], options: TimelineOptions): string {
  const length = Math.max(...timelines.map(({ spans }) => lengthOf(spans)));
  let height = 0;
  const parts = timelines.map(({ title, spans }) => {
    const part = draw(spans, { ...options, title, length }, height);
    height += part.height + partGap;
    return part.svg;
  });
  const { title, width = 960 } = options;
  const size = `viewBox="0 0 ${width} ${height - partGap}" width="${width}" height="${height - partGap}"`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" ${size} role="img">`,
    `<title>${escapeXml(title)}</title>`,
    ...parts,
    '</svg>\n',
  ].join('\n');
}

/** From the first action of any kind to the last. */
function lengthOf(spans: readonly Span[]): number {
  const [start, end] = [Math.min(...spans.map((span) => span.start)), Math.max(...spans.map((span) => span.end))];
  return Math.max(0, end - start);
}

/** `place`: pixels from the top of a larger drawing. */
function draw(
  spans: readonly Span[],
  options: TimelineOptions,
  place: number,
): { readonly svg: string; readonly height: number } {
  const { title, unit = '', width = 960, hints = false, length = 0 } = options;
  const figures = timelineFigures(spans);
  const drawn = spans.filter((span) => span.end > span.start);
  const start = drawn.reduce((least, span) => Math.min(least, span.start), figures.start);
  const end = drawn.reduce((most, span) => Math.max(most, span.end), figures.end);
  const scale = (width - left - right) / (Math.max(end - start, length) || 1);
  const x = (time: number) => left + (time - start) * scale;
  const pitch = boxHeight + rowGap + (drawn.every(isCompute) ? 0 : barHeight + 1);
  const y = (rank: number) => top + rank * pitch;
  const bottom = y(figures.ranks.length);
  const height = bottom + 34;

  const chunkOf = chunkNumbers(spans);
  const looks = new Map<string, Look>();
  const boxes = new Map<string, string[]>();
  const labels = new Map<string, string[]>();
  for (const span of drawn) {
    const look = lookOf(span, chunkOf(span));
    looks.set(look.className, look);
    const wide = (span.end - span.start) * scale;
    const gap = Math.min(0.5, wide / 8);
    const at = coordinate(x(span.start) + gap);
    const [boxTop, tall] = isCompute(span) ? [y(span.rank), boxHeight] : [y(span.rank) + boxHeight + 1, barHeight];
    const path = `M${at} ${boxTop}h${coordinate(wide - 2 * gap)}v${tall}H${at}z`;
    put(boxes, look.className, hints ? `<path d="${path}"><title>${escapeXml(hintOf(span, start, unit))}</title></path>` : path);
    if (!isCompute(span) || `${span.grain}`.length * digitWidth > wide - 1) continue;
    put(labels, look.label, `<text x="${coordinate(x(span.start) + wide / 2)}" y="${boxTop + 16}">${span.grain}</text>`);
  }

  const size = `width="${width}" height="${height}"`;
  const heading = `bubble ${percent(figures.bubble)}, length ${time(figures.length, unit)}`;
  const at = place === 0 ? '' : ` y="${place}"`;
  const svg = [
    `<svg xmlns="http://www.w3.org/2000/svg" class="wl-timeline"${at} viewBox="0 0 ${width} ${height}" ${size} role="img">`,
    `<title>${escapeXml(title)}</title>`,
    `<desc>${escapeXml(`${figures.ranks.length} ranks, ${heading}`)}</desc>`,
    `<style>${styleSheet(looks.values())}</style>`,
    `<rect class="wl-page" ${size} rx="6"/>`,
    `<text class="wl-title" x="16" y="27">${escapeXml(title)}</text>`,
    `<text class="wl-figure" x="${width - 16}" y="27">${escapeXml(heading)}</text>`,
    ...legend(drawn, chunkOf),
    ...figures.ranks.map(
      ({ bubble }, rank) =>
        `<rect class="wl-idle" x="${left}" y="${y(rank)}" width="${coordinate(x(end) - left)}" height="${boxHeight}"/>` +
        `<text class="wl-rank" x="${left - 8}" y="${y(rank) + 16}">rank ${rank}</text>` +
        `<text class="wl-share" x="${width - right + 8}" y="${y(rank) + 16}">${percent(bubble)}</text>`,
    ),
    ...ticks(end - start, Math.max(2, Math.floor((x(end) - left) / tickWidth)), unit).map(
      ({ at, label }) =>
        `<path class="wl-tick" d="M${coordinate(x(start + at))} ${top - 4}V${bottom}"/>` +
        `<text class="wl-time" x="${coordinate(x(start + at))}" y="${bottom + 14}">${escapeXml(label)}</text>`,
    ),
    ...[...boxes].map(([name, paths]) =>
      hints ? `<g class="${name}">${paths.join('')}</g>` : `<path class="${name}" d="${paths.join('')}"/>`,
    ),
    ...[...labels].map(([colour, texts]) => `<g class="wl-label wl-${colour}">${texts.join('')}</g>`),
    '</svg>\n',
  ].join('\n');
  return { svg, height };
}

/** One key for each look of a rank's first stage, one for the lighter ones, one for idle time. */
function legend(drawn: readonly Span[], chunkOf: (span: Span) => number): string[] {
  const keys = new Map<string, string>();
  for (const span of Object.keys(kinds).flatMap((type) => drawn.filter((one) => one.type === type).slice(0, 1))) {
    keys.set(lookOf(span, 0).className, kinds[span.type].name);
  }
  const chunks = 1 + drawn.reduce((most, span) => Math.max(most, chunkOf(span)), 0);
  const later = drawn.find((span) => isCompute(span) && chunkOf(span) === 1);
  if (later)
    keys.set(lookOf(later, 1).className, chunks > 2 ? 'lighter: later stages of the rank' : 'lighter: second stage of the rank');
  keys.set('wl-idle', 'idle');
  let x = 16;
  return [...keys].map(([className, name]) => {
    const box = `<rect class="${className}" x="${x}" y="42" width="14" height="14"/>`;
    const key = `${box}<text class="wl-key" x="${x + 19}" y="53">${name}</text>`;
    x += 19 + Math.round(name.length * letterWidth) + 14;
    return key;
  });
}

function ticks(length: number, most: number, unit: string): { readonly at: number; readonly label: string }[] {
  const step = tickStep(length, most);
  const count = Math.floor(length / step + 1e-9) + 1;
  return Array.from({ length: count }, (_, index) => ({ at: index * step, label: time(index * step, index === 0 ? unit : '') }));
}

/** Times from the start of the drawing. */
function hintOf(span: Span, origin: number, unit: string): string {
  const { type, stage, grain, start, end } = span;
  const where = `stage ${stage}${grain === undefined ? '' : `, grain ${grain}`}`;
  return `${kinds[type].name}, ${where}: ${time(end - start, unit)} from ${time(start - origin, unit)}`;
}

function put(lists: Map<string, string[]>, key: string, value: string): void {
  const list = lists.get(key);
  if (list) list.push(value);
  else lists.set(key, [value]);
}
