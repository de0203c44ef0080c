// Draws a mesh: each rank as a box in the place that its axes give it, coloured by what it holds, with the bytes it keeps.
import { memoryKinds } from './plan.ts';
import type { JobPlan, MemoryKind, RankPlan } from './plan.ts';
import { formatBytes, formatUnits } from './rank-groups.ts';
import { heldBytes } from './warnings.ts';

const box = { width: 168, height: 124, gap: 10 };
const margin = 24;
const headHeight = 76;
const labelWidth = 92;
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
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif" role="img" aria-label="${escape(title)}">`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    text(margin, margin + 14, title, { size: 18, weight: 600 }),
    text(margin, margin + 36, [shape.join(' x '), ...more].filter((part) => part !== '').join(', '), {
      size: 12,
      fill: '#555555',
    }),
    ...legend(margin, margin + 58),
    ...columnLabels(replicas, dataReplicate, dataShard, (replicate, shard) => column(replicate, shard), row(0) - 10),
    ...Array.from({ length: pipeline }, (_, index) =>
      pipeline > 1 ? text(margin, row(index) + 20, `pipeline ${index}`, { size: 12, fill: '#555555' }) : '',
    ),
    ...drawn.flatMap((rank) => {
      const { at } = rank;
      return rankBox(rank, plan, column(at.replicate, at.shard) + at.tensor * (box.width + 4), row(at.pipeline), most);
    }),
    '</svg>',
    '',
  ]
    .filter((line, index, all) => line !== '' || index === all.length - 1)
    .join('\n');
}

function legend(x: number, y: number): string[] {
  return memoryKinds.flatMap((kind, index) => [
    `<rect x="${x + index * 104}" y="${y - 9}" width="10" height="10" fill="${colours[kind]}"/>`,
    text(x + index * 104 + 15, y, names[kind], { size: 12 }),
  ]);
}

function columnLabels(
  replicas: number,
  dataReplicate: number,
  dataShard: number,
  column: (replicate: number, shard: number) => number,
  y: number,
): string[] {
  const labels: string[] = [];
  for (let replicate = 0; replicate < replicas; replicate += 1) {
    for (let shard = 0; shard < dataShard; shard += 1) {
      const parts = [...(dataReplicate > 1 ? [`replica ${replicate}`] : []), ...(dataShard > 1 ? [`shard ${shard}`] : [])];
      if (parts.length > 0) labels.push(text(column(replicate, shard), y, parts.join(', '), { size: 12, fill: '#555555' }));
    }
  }
  return labels;
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
  const lines = others.length > 0 ? [`${first} and`, shorten(others.join(' and '))] : [first, ''];
  return [
    `<rect x="${x}" y="${y}" width="${box.width}" height="${box.height}" rx="4" fill="${fillOf(rank, plan)}" stroke="#8a8a8a"/>`,
    text(x + 10, y + 20, `rank ${rank.rank}`, { size: 13, weight: 600 }),
    text(x + 10, y + 38, shorten(lines[0]!), { size: 12 }),
    ...(lines[1] === '' ? [] : [text(x + 10, y + 54, lines[1]!, { size: 12 })]),
    ...(part === '' ? [] : [text(x + 10, y + 70, part, { size: 12, fill: '#555555' })]),
    ...bars,
    text(x + 10, y + 112, `${formatBytes(held)} held${sent > 0 ? `, ${formatBytes(sent)} sent` : ''}`, { size: 11 }),
  ];
}

/** Ranks of one colour hold the same: the hue goes with the place in the pipeline, the lightness with tensor and shard. */
function fillOf({ at }: RankPlan, { parallelism }: JobPlan): string {
  const hue = Math.round((210 + (360 * at.pipeline) / parallelism.pipeline) % 360);
  const parts = parallelism.tensor * parallelism.dataShard;
  const part = at.shard * parallelism.tensor + at.tensor;
  const lightness = 94 - (parts > 1 ? Math.round((14 * part) / (parts - 1)) : 0);
  return `hsl(${hue}, 60%, ${lightness}%)`;
}

function shorten(line: string): string {
  const columns = 26;
  return line.length <= columns ? line : `${line.slice(0, columns - 1)}…`;
}

interface TextStyle {
  readonly size: number;
  readonly weight?: number;
  readonly fill?: string;
}

function text(x: number, y: number, content: string, { size, weight = 400, fill = '#1a1a1a' }: TextStyle): string {
  return `<text x="${x}" y="${y}" font-size="${size}" font-weight="${weight}" fill="${fill}">${escape(content)}</text>`;
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}

function escape(content: string): string {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}
