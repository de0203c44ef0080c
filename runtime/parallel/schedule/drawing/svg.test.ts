import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { buildSchedule } from '../build.ts';
import { withCommunication } from '../communication.ts';
import { withSharding } from '../sharding.ts';
import { anyWishes } from '../testing.ts';
import type { Span } from '../timing/figures.ts';
import { simulate } from '../timing/simulate.ts';
import { timelinesSvg, timelineSvg } from './svg.ts';
import { kinds, lookOf } from './theme.ts';

const even = { forward: 1, backwardInput: 1, backwardWeight: 1 };
const full = { forward: 1.1, backwardInput: 1.3, backwardWeight: 0.7, send: 0.2, unshard: 0.4, reduce: 0.5 };
const small = simulate(buildSchedule({ schedule: '1f1b', pipeline: 2, stagesPerRank: 1, grains: 3 }), even);

/** Tags in order; throws where one closes what is not open. */
function tagsOf(svg: string): string[] {
  const open: string[] = [];
  const all: string[] = [];
  for (const [, closing, name = '', selfClosing] of svg.matchAll(/<(\/?)([a-z]+)(?:\s+[a-zA-Z-]+="[^"<>]*")*\s*(\/?)>/g)) {
    if (closing) expect(open.pop()).toBe(name);
    else all.push(name);
    if (!closing && !selfClosing) open.push(name);
  }
  expect(open).toEqual([]);
  return all;
}

/** The numbers on boxes, in order of size. */
function numbersIn(svg: string): string {
  const numbers = [...svg.matchAll(/<text x="[\d.]+" y="\d+">(\d+)<\/text>/g)].map((match) => match[1] ?? '');
  return numbers.sort((a, b) => Number(a) - Number(b)).join('');
}

it('draws any simulated schedule as well-formed XML without a number that is none', () => {
  fc.assert(
    fc.property(anyWishes, fc.boolean(), (wishes, hints) => {
      const schedule = withSharding(withCommunication(buildSchedule(wishes)), { reshardAfterForward: true });
      const svg = timelineSvg(simulate(schedule, full).spans, { title: 'any', unit: 'ms', hints });
      expect(tagsOf(svg).filter((tag) => tag === 'rect').length).toBeGreaterThan(wishes.pipeline);
      expect(svg).not.toMatch(/NaN|Infinity|undefined|null|e-\d/);
    }),
    { numRuns: 60 },
  );
});

it('labels every box with its grain and names bubble and length', () => {
  const svg = timelineSvg(small.spans, { title: 'small' });
  expect(numbersIn(svg)).toBe('000011112222');
  expect(svg).toContain('bubble 25.0 %, length 12<');
});

it('leaves out numbers that have no room', () => {
  expect(numbersIn(timelineSvg(small.spans, { title: 'backwards alone have room', width: 200 }))).toBe('001122');
  expect(numbersIn(timelineSvg(small.spans, { title: 'nothing has room', width: 150 }))).toBe('');
});

it('starts a measured timeline at its first action, whatever the clock said', () => {
  const later = small.spans.map((span) => ({ ...span, start: span.start + 5_000_000, end: span.end + 5_000_000 }));
  expect(timelineSvg(later, { title: 'x', unit: 'ms', hints: true })).toBe(
    timelineSvg(small.spans, { title: 'x', unit: 'ms', hints: true }),
  );
});

it('draws timelines below each other in one scale', () => {
  const twice = small.spans.map((span) => ({ ...span, start: 2 * span.start, end: 2 * span.end }));
  const both = timelinesSvg(
    [
      { title: 'short', spans: small.spans },
      { title: 'long', spans: twice },
    ],
    { title: 'both' },
  );
  tagsOf(both);
  const widths = [...both.matchAll(/<rect class="wl-idle" x="62" y="\d+" width="(\d+)"/g)].map(([, width]) => Number(width));
  expect(widths).toEqual([420, 420, 840, 840]);
  expect(both).toContain(timelineSvg(small.spans, { title: 'short', length: 24 }));
});

it('escapes what the caller gives', () => {
  const svg = timelineSvg([], { title: 'a < b & "c" </title>' });
  tagsOf(svg);
  expect(svg).toContain('<title>a &lt; b &amp; "c" &lt;/title&gt;</title>');
});

it('keeps the drawing of a large schedule under 60 KB', () => {
  const large = buildSchedule({ schedule: 'zbv', pipeline: 8, stagesPerRank: 2, grains: 16 });
  expect(timelineSvg(simulate(large, even).spans, { title: 'large' }).length).toBeLessThan(60_000);
});

describe('colours', () => {
  const span = (type: Span['type']): Span => ({ type, rank: 0, stage: 0, grain: 0, start: 0, end: 1 });
  const computeTypes = ['forward', 'backward', 'backwardInput', 'backwardWeight'] as const;

  it.each(computeTypes)('give the number on %s a contrast of 4.5 or more, as WCAG asks, on every shade', (type) => {
    for (const chunk of [0, 1, 2, 3]) {
      const { fill, label } = lookOf(span(type), chunk);
      expect(contrast(fill, label === 'light' ? '#ffffff' : '#1b1f24')).toBeGreaterThanOrEqual(4.5);
    }
  });

  it('stand out from a light and a dark page', () => {
    for (const type of Object.keys(kinds) as Span['type'][]) {
      const { fill } = lookOf(span(type), 0);
      expect(contrast(fill, '#ffffff')).toBeGreaterThan(1.8);
      expect(contrast(fill, '#15191f')).toBeGreaterThan(3);
    }
  });
});

/** WCAG 2.2, relative luminance and contrast ratio. */
function contrast(a: string, b: string): number {
  const luminance = (colour: string) => {
    const [red = 0, green = 0, blue = 0] = [1, 3, 5]
      .map((at) => Number.parseInt(colour.slice(at, at + 2), 16) / 255)
      .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const [dark = 0, light = 0] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (light + 0.05) / (dark + 0.05);
}
