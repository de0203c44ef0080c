// A plan as text of at most 80 columns.
import { formatCount, table, wrap } from '#operator/cli/format.ts';
import type { JobPlan } from '#runtime/parallel/plan/plan.ts';
import { formatBytes, formatRanks, formatUnits, rankGroups } from '#runtime/parallel/plan/rank-groups.ts';
import type { RankGroup } from '#runtime/parallel/plan/rank-groups.ts';
import { heldBytes } from '#runtime/parallel/plan/warnings.ts';

const width = 80;
/** Characters of a list of ranks before its middle is left out. */
const longestNames = 16;

export function planText(name: string, plan: JobPlan, warnings: readonly string[]): string {
  const groups = rankGroups(plan);
  const parts = [
    facts(name, plan),
    foldedTable(groups, holdings),
    foldedTable(groups, memory),
    plan.world > 1 ? foldedTable(groups, traffic) : '',
    bubbleLine(plan),
    ...warnings.map((warning) => lines(`warning: ${warning}`)),
  ];
  return parts.filter((part) => part !== '').join('\n');
}

function facts(name: string, plan: JobPlan): string {
  const { parallelism, world, model, batch, precision, grainsPerRank, tokensPerGrain, schedule } = plan;
  const bits = precision === 'bf16' ? '32 bits, activations bf16' : '32 bits';
  const { pipeline, dataReplicate, dataShard, tensor } = parallelism;
  const axes = { pipeline, dataReplicate, dataShard, tensor };
  const mesh = Object.entries(axes).flatMap(([axis, size]) => (size > 1 ? [`${axis} ${size}`] : []));
  const grains = batch.grains === 1 ? '1 grain' : `${batch.grains} grains`;
  const own = grainsPerRank === batch.grains ? '' : `; ${grainsPerRank} for each data rank`;
  const rows: [string, string][] = [
    ['job', name],
    ['ranks', world === 1 ? '1' : `${world} = ${mesh.join(' x ')}`],
    ['model', `${model.family}, ${model.layers} layers, hidden ${model.hiddenSize}, vocabulary ${model.vocabularySize}, ${bits}`],
    ['step', `${batch.sequences} sequences of ${batch.length} tokens, in ${grains} of ${tokensPerGrain} tokens${own}`],
    ...modes(parallelism, schedule).map((mode, index): [string, string] => [index === 0 ? 'modes' : '', mode]),
  ];
  const title = 7;
  return table(rows.flatMap(([fact, value]) => wrap(value, width - title).map((line, index) => [index === 0 ? fact : '', line])));
}

function modes(parallelism: JobPlan['parallelism'], { name, stages }: JobPlan['schedule']) {
  const { dataShard, zero, sequenceParallel, pipeline, schedule, stagesPerRank } = parallelism;
  const { reshardAfterForward, reshardWithin, reduceEveryGrain } = parallelism;
  const sharded = { 1: 'optimizer', 2: 'optimizer and gradients', 3: 'optimizer, gradients and weights' }[zero];
  const near = reshardWithin === undefined ? '' : ` from ${reshardWithin} neighbours`;
  const kept = zero < 3 ? '' : reshardAfterForward ? `, gathered per grain${near}` : ', gathered once per step';
  const reduced = reduceEveryGrain ? ', reduced after every grain' : '';
  return [
    ...(dataShard > 1 ? [`zero ${zero}: dataShard shares ${sharded}${kept}${reduced}`] : []),
    ...(sequenceParallel ? ['sequenceParallel: norms and residuals split over positions'] : []),
    ...(pipeline > 1 && schedule !== 'csv'
      ? [`schedule ${schedule}, ${stagesPerRank === 1 ? '1 stage' : `${stagesPerRank} stages`} per rank`]
      : []),
    ...(schedule === 'csv' ? [`schedule of its own (${name}), ${stages} stages on ${pipeline} ranks`] : []),
  ];
}

interface Columns {
  readonly header: readonly string[];
  readonly row: (group: RankGroup) => readonly string[];
}

const holdings: Columns = {
  header: ['PARAMETERS', 'HOLDS'],
  row: ({ plan }) => [formatCount(plan.parameters), plan.stages.map(({ units }) => formatUnits(units)).join(' and ')],
};

const memory: Columns = {
  header: ['WEIGHTS', 'GRADIENTS', 'OPTIMIZER', 'ACTIVATIONS', 'HELD IN ALL'],
  row: ({ plan }) => {
    const { weights, gradients, moments, activations } = plan.memory;
    return [weights, gradients, moments, activations, heldBytes(plan)].map(formatBytes);
  },
};

const traffic: Columns = {
  header: ['GRADIENTS', 'WEIGHTS', 'TENSOR', 'PIPELINE', 'TIED', 'SENT PER STEP'],
  row: ({ plan }) => {
    const { gradientReduceScatter, gradientAllReduce, weightAllGather, tensor, pipeline, tiedEmbedding } = plan.sent;
    const gradients = gradientReduceScatter + gradientAllReduce;
    const kinds = [gradients, weightAllGather, tensor, pipeline, tiedEmbedding];
    return [...kinds.map((bytes) => (bytes === 0 ? '-' : formatBytes(bytes))), formatBytes(kinds.reduce((a, b) => a + b, 0))];
  },
};

/** Groups that are alike in these columns become one row; a last cell that is too wide goes on below itself. */
function foldedTable(groups: readonly RankGroup[], { header, row }: Columns): string {
  const same = Map.groupBy(groups, (group) => row(group).join('\t'));
  const rows = [['RANKS', ...header], ...[...same.values()].map((alike) => [namesOf(alike), ...row(alike[0]!)])];
  const before = header.map((_, column) => Math.max(...rows.map((cells) => cells[column]!.length)) + 2);
  const room = width - before.reduce((sum, size) => sum + size, 0);
  return table(
    rows.flatMap((cells) => {
      const [first = '', ...more] = wrap(cells.at(-1)!, Math.max(room, 16));
      return [[...cells.slice(0, -1), first], ...more.map((line) => [...header.map(() => ''), line])];
    }),
  );
}

function namesOf(groups: readonly RankGroup[]): string {
  const ranks = groups.flatMap(({ ranks }) => ranks).toSorted((a, b) => a - b);
  const names = formatRanks(ranks);
  return names.length <= longestNames ? names : `${ranks[0]}, ${ranks[1]} ... ${ranks.at(-1)} (${ranks.length})`;
}

function bubbleLine({ parallelism, bubble }: JobPlan): string {
  if (parallelism.pipeline === 1) return '';
  return lines(`bubble: ${(bubble * 100).toFixed(1)} % of a step, with stages as dear as their operations and sending for free`);
}

function lines(text: string): string {
  return wrap(text, width)
    .map((line) => `${line}\n`)
    .join('');
}
