// Colours and fonts of drawn timelines: boxes are the same on light and dark pages, what surrounds them follows the reader.
import type { ActionType } from '#runtime/api/schedule/action.ts';
import { isCompute } from '#runtime/api/schedule/action.ts';
import type { Span } from '../timing/figures.ts';

interface Kind {
  /** Of the class; types that look alike share it. */
  readonly key: string;
  readonly name: string;
  readonly colour: number;
  /** Of the grain's number on a box in this colour. */
  readonly label?: LabelColour;
}

type LabelColour = 'light' | 'dark';

export const kinds: Readonly<Record<ActionType, Kind>> = {
  forward: { key: 'f', name: 'forward', colour: 0x3467b8, label: 'light' },
  backward: { key: 'b', name: 'backward', colour: 0x2b7a4b, label: 'light' },
  backwardInput: { key: 'i', name: 'input gradient', colour: 0x11808a, label: 'light' },
  backwardWeight: { key: 'w', name: 'weight gradient', colour: 0xe3a02f, label: 'dark' },
  sendForward: { key: 'send', name: 'send', colour: 0x7f8896 },
  sendBackward: { key: 'send', name: 'send', colour: 0x7f8896 },
  receiveForward: { key: 'receive', name: 'receive', colour: 0xb3bac6 },
  receiveBackward: { key: 'receive', name: 'receive', colour: 0xb3bac6 },
  unshard: { key: 'unshard', name: 'gather weights', colour: 0x8e5bc0 },
  reshard: { key: 'reshard', name: 'free weights', colour: 0x8e5bc0 },
  reduce: { key: 'reduce', name: 'reduce gradients', colour: 0xc2417c },
};

/** Share of white in the boxes of a rank's first, second, third and later stages. */
const whiteByChunk = [0, 0.45, 0.62, 0.75];

export interface Look {
  readonly className: string;
  readonly fill: string;
  readonly label: LabelColour;
}

/** `chunk`: 0 for a rank's first stage. */
export function lookOf(span: Span, chunk: number): Look {
  const { key, colour, label = 'dark' } = kinds[span.type];
  if (!isCompute(span)) return { className: `wl-${key}`, fill: mixed(colour, 0), label };
  const shade = Math.min(chunk, whiteByChunk.length - 1);
  return { className: `wl-${key}${shade}`, fill: mixed(colour, whiteByChunk[shade]!), label: shade === 0 ? label : 'dark' };
}

/** Every class begins with wl-, so that a drawing inside a page does not restyle the page. */
export function styleSheet(looks: Iterable<Look>): string {
  const around = (page: string, ink: string, faint: string, idle: string, line: string) =>
    `.wl-page{fill:${page}}.wl-title,.wl-figure{fill:${ink}}.wl-rank,.wl-share,.wl-key,.wl-time{fill:${faint}}` +
    `.wl-idle{fill:${idle}}.wl-tick{stroke:${line}}`;
  return [
    '.wl-timeline text{font-family:ui-sans-serif,system-ui,"Segoe UI",Helvetica,Arial,sans-serif;font-size:11px}',
    '.wl-timeline .wl-title{font-size:16px;font-weight:600}.wl-timeline .wl-figure{font-size:13px}',
    '.wl-figure,.wl-rank{text-anchor:end}.wl-time,.wl-label{text-anchor:middle}',
    '.wl-light{fill:#fff}.wl-dark{fill:#1b1f24}.wl-tick{stroke-width:1;fill:none}',
    around('#fff', '#1b1f24', '#59636e', '#eceff3', '#d8dde3'),
    ...[...looks].map(({ className, fill }) => `.${className}{fill:${fill}}`),
    `@media(prefers-color-scheme:dark){${around('#15191f', '#e6eaef', '#9aa4b0', '#252b33', '#333b45')}}`,
  ].join('');
}

/** `#rrggbb` of a colour with that share of white. */
function mixed(colour: number, white: number): string {
  const channel = (shift: number) => Math.round(((colour >> shift) & 255) * (1 - white) + 255 * white);
  return `#${[16, 8, 0].map((shift) => channel(shift).toString(16).padStart(2, '0')).join('')}`;
}
