// Draws a mesh: each rank as a box in the place that its axes give it, coloured by what it holds, with the bytes it keeps.
import { escapeXml } from '../schedule/drawing/numbers.ts';
import { memoryKinds } from './plan.ts';
import type { JobPlan, MemoryKind, RankPlan } from './plan.ts';
import { formatBytes, formatUnits } from './rank-groups.ts';
import { heldBytes } from './warnings.ts';

const box = { width: 194, height: 124, gap: 10 };
const margin = 24;
const headHeight = 76;
const labelWidth = 76;
/** Of the places in the pipeline, one after the other, before white is mixed in. */
const hues = [0x3467b8, 0x2b7a4b, 0xe3a02f, 0x8e5bc0, 0x11808a, 0xc2417c];
const style = [
  '.wl-mesh text{font-family:ui-sans-serif,system-ui,"Segoe UI",Helvetica,Arial,sans-serif;font-size:12px}',
  '.wl-mesh .wl-title{font-size:16px;font-weight:600}.wl-mesh .wl-name{font-weight:600}.wl-dark{fill:#1b1f24}.wl-dim{fill:#59636e}',
  '.wl-page{fill:#fff}.wl-title,.wl-key{fill:#1b1f24}.wl-axis{fill:#59636e}',
  '@media(prefers-color-scheme:dark){.wl-page{fill:#15191f}.wl-title,.wl-key{fill:#e6eaef}.wl-axis{fill:#9aa4b0}}',
].join('');

/** More ranks than these are drawn as those of the first replicas, with a word on the others. */
const mostRanks = 128;

const colours: Readonly<Record<MemoryKind, string>> = {
  weights: '#3b6fb6',
  gradients: '#d9822b',
  moments: '#7a5ba8',
  activations: '#3f9265',
};
const names: Readonly<Record<MemoryKind, string>> = {
  weights: 'weights',
  gradients: 'gradients',
  moments: 'optimizer',
  activations: 'activations',
};

/** Rows: pipeline. Columns: data ranks, replicas apart from each other; within one, the ranks of a tensor group side by side. */
export function planSvg(name: string, plan: JobPlan): string {
  const { pipeline, dataReplicate, dataShard, tensor } = plan.parallelism;
  const perReplica = pipeline * dataShard * tensor;
  const replicas = Math.max(1, Math.min(dataReplicate, Math.floor(mostRanks / perReplica)));
  const groupWidth = tensor * (box.width + 4) - 4;
  const column = (replicate: number, shard: number) =>
    labelWidth + margin + (replicate * dataShard + shard) * (groupWidth + box.gap) + replicate * 2 * box.gap;
  const row = (index: number) => margin + headHeight + 22 + index * (box.height + box.gap);
  const width = Math.max(760, column(replicas - 1, dataShard - 1) + groupWidth + margin);
  const height = row(pipeline) + margin;
  const most = Math.max(...plan.ranks.map(heldBytes));
  const drawn = plan.ranks.filter(({ at }) => at.replicate < replicas);
  const hidden = dataReplicate - replicas;
  const title = `${name}: ${plan.world === 1 ? '1 rank' : `${plan.world} ranks`}`;
  const axes = { pipeline, dataReplicate, dataShard, tensor };
  const shape = Object.entries(axes).flatMap(([axis, size]) => (size > 1 ? [`${axis} ${size}`] : []));
  const more = hidden > 0 ? [`${hidden} more ${hidden === 1 ? 'replica' : 'replicas'} like these`] : [];
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" class="wl-mesh" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeXml(title)}">`,
    `<style>${style}</style>`,
    `<rect class="wl-page" width="${width}" height="${height}"/>`,
    text('wl-title', margin, margin + 14, title),
    text('wl-axis', margin, margin + 36, [shape.join(' x '), ...more].filter((part) => part !== '').join(', ')),
    ...legend(margin, margin + 58),
    ...columnLabels(plan.parallelism, replicas, column, row(0) - 10),
    ...(pipeline > 1 ? Array.from({ length: pipeline }, (_, at) => text('wl-axis', margin, row(at) + 20, `pipeline ${at}`)) : []),
    ...drawn.flatMap((rank) => {
      const { at } = rank;
      return rankBox(rank, plan, column(at.replicate, at.shard) + at.tensor * (box.width + 4), row(at.pipeline), most);
    }),
    '</svg>\n',
  ].join('\n');
}

function legend(x: number, y: number): string[] {
  return memoryKinds.flatMap((kind, index) => [
    `<rect x="${x + index * 104}" y="${y - 9}" width="10" height="10" fill="${colours[kind]}"/>`,
    text('wl-key', x + index * 104 + 15, y, names[kind]),
  ]);
}

function columnLabels(
  { dataReplicate, dataShard }: JobPlan['parallelism'],
  replicas: number,
  column: (replicate: number, shard: number) => number,
  y: number,
): string[] {
  if (dataReplicate * dataShard === 1) return [];
  return Array.from({ length: replicas * dataShard }, (_, data) => {
    const [replicate, shard] = [Math.floor(data / dataShard), data % dataShard];
    const parts = [...(dataReplicate > 1 ? [`replica ${replicate}`] : []), ...(dataShard > 1 ? [`shard ${shard}`] : [])];
    return text('wl-axis', column(replicate, shard), y, parts.join(', '));
  });
}

function rankBox(rank: RankPlan, plan: JobPlan, x: number, y: number, most: number): string[] {
  const held = heldBytes(rank);
  const inner = box.width - 20;
  let left = x + 10;
  const bars = memoryKinds.map((kind) => {
    const width = (rank.memory[kind] / most) * inner;
    const bar = `<rect x="${round(left)}" y="${y + 82}" width="${round(width)}" height="12" fill="${colours[kind]}"><title>${names[kind]} ${formatBytes(rank.memory[kind])}</title></rect>`;
    left += width;
    return bar;
  });
  const sent = Object.values(rank.sent).reduce((sum, bytes) => sum + bytes, 0);
  const stages = rank.stages.map(({ units }) => formatUnits(units));
  const part = plan.parallelism.tensor > 1 ? `tensor part ${rank.at.tensor + 1} of ${plan.parallelism.tensor}` : '';
  const [first = '', ...others] = stages;
  const lines = others.length > 0 ? [`${first} and`, others.join(' and ')] : [first];
  return [
    `<rect x="${x}" y="${y}" width="${box.width}" height="${box.height}" rx="4" fill="${fillOf(rank, plan)}" stroke="#7f8896"/>`,
    text('wl-dark wl-name', x + 10, y + 20, `rank ${rank.rank}`),
    ...lines.map((line, index) => text('wl-dark', x + 10, y + 38 + 16 * index, shorten(line))),
    ...(part === '' ? [] : [text('wl-dim', x + 10, y + 70, part)]),
    ...bars,
    text('wl-dark', x + 10, y + 112, `${formatBytes(held)} held${sent > 0 ? `, ${formatBytes(sent)} sent` : ''}`),
  ];
}

/** Ranks of one colour hold the same: the hue goes with the place in the pipeline, the lightness with tensor and shard. */
function fillOf({ at }: RankPlan, { parallelism }: JobPlan): string {
  const parts = parallelism.tensor * parallelism.dataShard;
  const part = at.shard * parallelism.tensor + at.tensor;
  const white = 0.88 - (parts > 1 ? (0.24 * part) / (parts - 1) : 0);
  const colour = hues[at.pipeline % hues.length]!;
  const channel = (shift: number) => Math.round(((colour >> shift) & 255) * (1 - white) + 255 * white);
  return `#${[16, 8, 0].map((shift) => channel(shift).toString(16).padStart(2, '0')).join('')}`;
}

function shorten(line: string): string {
  const columns = 29;
  return line.length <= columns ? line : `${line.slice(0, columns - 1)}…`;
}

function text(className: string, x: number, y: number, content: string): string {
  return `<text class="${className}" x="${x}" y="${y}">${escapeXml(content)}</text>`;
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
