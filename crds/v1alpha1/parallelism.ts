// How a TrainingJob is spread over ranks: the axes of the mesh, what each shards, and the rules that need no knowledge of the model.
import { z } from 'zod';
import { withRules } from '../rules.ts';

const maxAxis = 1024;

/** Schedules that cut the model into several stages per rank. */
const manyStages = ['interleaved', 'zbv', 'dualpipev'] as const;
/** Those of them whose stages go down the ranks and up again: two per rank, no more and no less. */
const vShaped = ['zbv', 'dualpipev'] as const;

const celStagesPerRank = `(has(self.stagesPerRank) ? self.stagesPerRank : (self.schedule in ${celList(manyStages)} ? 2 : 1))`;

const powers = Array.from({ length: 11 }, (_, exponent) => 2 ** exponent);
/** One of them divides every number of ranks that is no prime. */
const primes = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31];

const celWithin = "'reshardWithin must be less than dataShard (%d) and divide it";

const axis = (description: string) => z.int().min(1).max(maxAxis).default(1).describe(description);

/** A choice of whole numbers, as an API server understands it. */
const oneOf = <const N extends number>(numbers: readonly N[]) =>
  z.literal(numbers).meta({ type: 'integer', minimum: Math.min(...numbers), maximum: Math.max(...numbers) });

export const Parallelism = withRules(
  z
    .strictObject({
      dataReplicate: axis('Copies of the sharded model, each of which computes its own grains.'),
      dataShard: axis('Ranks that compute their own grains and keep a share of the state each (ZeRO, FSDP).'),
      zero: oneOf([1, 2, 3])
        .default(3)
        .describe('What dataShard shards: 1 the state of the optimizer, 2 the gradients as well, 3 the weights as well.'),
      reshardAfterForward: z
        .boolean()
        .default(true)
        .describe('With zero 3: gives gathered weights back after the forward pass; false gathers them once and keeps them.'),
      reshardWithin: z
        .int()
        .min(2)
        .max(maxAxis)
        .optional()
        .describe(
          'With zero 3: this many neighbours of dataShard keep a part each of what was gathered for a step, and gather from each other from then on. All of dataShard if absent.',
        ),
      reduceEveryGrain: z
        .boolean()
        .default(false)
        .describe(
          'With zero 2 and 3: reduces the gradients of every grain and keeps shards of sums only; false sums up the grains of a rank first, which sends less and holds whole sums.',
        ),
      tensor: oneOf([1, 2, 4, 8])
        .default(1)
        .describe('Ranks that share each matrix; must divide heads, kvHeads and the width of the MLP.'),
      sequenceParallel: z
        .boolean()
        .default(false)
        .describe('Spreads what lies between the matrices over the ranks of tensor as well, by position; saves memory.'),
      pipeline: axis('Ranks that keep a part of the layers each.'),
      schedule: z
        .enum(['gpipe', '1f1b', 'interleaved', 'zb1p', 'zbv', 'dualpipev', 'csv'])
        .default('1f1b')
        .describe(
          'Order in which the ranks of pipeline compute forward and backward passes of the grains; csv: that of scheduleCsv.',
        ),
      scheduleCsv: z
        .string()
        .min(1)
        .max(60_000)
        .regex(/^[\t\n\r -~]*$/, 'must be plain ASCII')
        .optional()
        .describe(
          'With schedule csv: a line per rank of pipeline and a cell per action, as `windlass plan -o csv` prints it. It must be complete, in order and free of deadlock.',
        ),
      stagesPerRank: z
        .int()
        .min(1)
        .max(64)
        .optional()
        .describe(
          'Parts of the model on each rank of pipeline: 2 or more for interleaved, 2 for zbv and dualpipev, else 1. The least that the schedule takes if absent; csv says it itself.',
        ),
      stageLayers: z
        .array(z.int().min(0).max(4096).describe('Layers of one stage.'))
        .min(2)
        .max(1024)
        .optional()
        .describe(
          'Layers of each stage, in order; the embedding comes with the first, the head with the last. Stages of about equal estimated cost if absent. `windlass plan --trace` tells what a measured trace suggests.',
        ),
      encryption: z
        .enum(['none', 'tls'])
        .default('none')
        .describe(
          'tls: what ranks send each other over the network, tensors and words beside them, goes through TLS 1.3, in which both sides prove that they know the secret of the job. Ranks of one machine and network namespace use shared memory and need none. No bit of the result depends on it.',
        ),
    })
    .describe('Ranks and what each does. Their number is the product of dataReplicate, dataShard, tensor and pipeline.'),
  [
    {
      cel: `self.dataReplicate * self.dataShard * self.tensor * self.pipeline <= ${maxAxis}`,
      holds: (self) => ranksIn(self) <= maxAxis,
      message: `the product of dataReplicate, dataShard, tensor and pipeline must be at most ${maxAxis}`,
    },
    {
      cel: 'self.dataShard > 1 || (self.zero == 3 && self.reshardAfterForward && !self.reduceEveryGrain)',
      holds: (self) => self.dataShard > 1 || (self.zero === 3 && self.reshardAfterForward && !self.reduceEveryGrain),
      message: 'zero, reshardAfterForward and reduceEveryGrain say how dataShard shards; set dataShard above 1 or leave them out',
      path: ['dataShard'],
    },
    {
      cel: 'self.reshardAfterForward || self.zero == 3',
      holds: (self) => self.reshardAfterForward || self.zero === 3,
      message: 'reshardAfterForward: false needs zero: 3; zero 1 and 2 keep all weights anyway',
      path: ['reshardAfterForward'],
    },
    {
      cel: '!has(self.reshardWithin) || (self.zero == 3 && self.reshardAfterForward)',
      holds: (self) => self.reshardWithin === undefined || (self.zero === 3 && self.reshardAfterForward),
      message: 'reshardWithin needs zero: 3 and reshardAfterForward: true; others keep all weights anyway',
      path: ['reshardWithin'],
    },
    {
      cel: '!has(self.reshardWithin) || (self.reshardWithin < self.dataShard && self.dataShard % self.reshardWithin == 0)',
      holds: ({ reshardWithin, dataShard }) =>
        reshardWithin === undefined || (reshardWithin < dataShard && dataShard % reshardWithin === 0),
      message: 'reshardWithin must be less than dataShard and divide it',
      detail: {
        // format(), as with grains in layout-rules.ts.
        cel: `${celFactor('exists')} ? ${celWithin}; %d fits'.format([self.dataShard, self.dataShard / ${celFactor('filter')}[0]]) : ${celWithin}; leave it out'.format([self.dataShard])`,
        text: ({ dataShard }) => {
          const factor = primes.find((prime) => dataShard % prime === 0 && dataShard > prime);
          const fit = factor === undefined ? 'leave it out' : `${dataShard / factor} fits`;
          return `reshardWithin must be less than dataShard (${dataShard}) and divide it; ${fit}`;
        },
      },
      path: ['reshardWithin'],
    },
    {
      cel: '!self.reduceEveryGrain || self.zero >= 2',
      holds: (self) => !self.reduceEveryGrain || self.zero >= 2,
      message: 'reduceEveryGrain needs zero: 2 or 3; with zero: 1 gradients are whole anyway',
      path: ['reduceEveryGrain'],
    },
    {
      cel: `!self.reduceEveryGrain || (self.dataShard in [${powers.join(', ')}])`,
      holds: (self) => !self.reduceEveryGrain || powers.includes(self.dataShard),
      message: 'reduceEveryGrain needs a power of two for dataShard',
      detail: {
        cel: `'reduceEveryGrain needs a power of two for dataShard; %d fits'.format([[${powers.join(', ')}].filter(p, p <= self.dataShard && 2 * p > self.dataShard)[0]])`,
        text: ({ dataShard }) =>
          `reduceEveryGrain needs a power of two for dataShard; ${powers.findLast((power) => power <= dataShard)} fits`,
      },
      path: ['reduceEveryGrain'],
    },
    {
      cel: '!self.sequenceParallel || self.tensor > 1',
      holds: (self) => !self.sequenceParallel || self.tensor > 1,
      message: 'sequenceParallel needs tensor above 1',
      path: ['sequenceParallel'],
    },
    {
      cel: "self.pipeline > 1 || (self.schedule == '1f1b' && !has(self.stagesPerRank) && !has(self.stageLayers))",
      holds: (self) =>
        self.pipeline > 1 || (self.schedule === '1f1b' && self.stagesPerRank === undefined && self.stageLayers === undefined),
      message: 'schedule, stagesPerRank and stageLayers say how pipeline goes; set pipeline above 1 or leave them out',
      path: ['pipeline'],
    },
    {
      cel: "(self.schedule == 'csv') == has(self.scheduleCsv)",
      holds: (self) => (self.schedule === 'csv') === (self.scheduleCsv !== undefined),
      message: 'schedule: csv and scheduleCsv belong together; set both or neither',
      path: ['scheduleCsv'],
    },
    {
      cel: "self.schedule != 'csv' || !has(self.stagesPerRank)",
      holds: (self) => self.schedule !== 'csv' || self.stagesPerRank === undefined,
      message: 'scheduleCsv says which stage lies where; leave stagesPerRank out',
      path: ['stagesPerRank'],
    },
    {
      cel: "self.schedule != 'interleaved' || !has(self.stagesPerRank) || self.stagesPerRank >= 2",
      holds: (self) => self.schedule !== 'interleaved' || (self.stagesPerRank ?? 2) >= 2,
      message: 'schedule interleaved needs stagesPerRank of 2 or more',
      path: ['stagesPerRank'],
    },
    {
      cel: `!(self.schedule in ${celList(vShaped)}) || !has(self.stagesPerRank) || self.stagesPerRank == 2`,
      holds: (self) => !isOneOf(vShaped, self.schedule) || (self.stagesPerRank ?? 2) === 2,
      message: 'schedules zbv and dualpipev need stagesPerRank: 2',
      path: ['stagesPerRank'],
    },
    {
      cel: `(self.schedule in ${celList([...manyStages, 'csv'])}) || !has(self.stagesPerRank) || self.stagesPerRank == 1`,
      holds: (self) => isOneOf([...manyStages, 'csv'], self.schedule) || (self.stagesPerRank ?? 1) === 1,
      message: 'schedules gpipe, 1f1b and zb1p need stagesPerRank: 1; interleaved takes more',
      path: ['stagesPerRank'],
    },
    {
      cel: `!has(self.stageLayers) || self.pipeline == 1 || self.schedule == 'csv' || self.stageLayers.size() == self.pipeline * ${celStagesPerRank}`,
      holds: (self) =>
        self.stageLayers === undefined ||
        self.pipeline === 1 ||
        self.schedule === 'csv' ||
        self.stageLayers.length === self.pipeline * stagesPerRankOf(self),
      message: 'stageLayers must have an entry for each stage: pipeline x stagesPerRank of them',
      path: ['stageLayers'],
    },
  ],
);

/** `spec.parallelism` with every default filled in. */
export type Parallelism = Omit<z.output<typeof Parallelism>, 'stagesPerRank'> & { stagesPerRank: number };

/** Fills in the default that depends on another field. */
export function parallelismOf(written: z.output<typeof Parallelism>): Parallelism {
  return { ...written, stagesPerRank: stagesPerRankOf(written) };
}

function stagesPerRankOf({ schedule, stagesPerRank }: { schedule: string; stagesPerRank?: number | undefined }): number {
  return stagesPerRank ?? (isOneOf(manyStages, schedule) ? 2 : 1);
}

interface Axes {
  dataReplicate: number;
  dataShard: number;
  tensor: number;
  pipeline: number;
}

/** Ranks of a mesh. */
export function ranksIn({ dataReplicate, dataShard, tensor, pipeline }: Axes): number {
  return dataReplicate * dataShard * tensor * pipeline;
}

/** Of the primes those that leave a proper part of dataShard. */
function celFactor(macro: 'exists' | 'filter'): string {
  return `[${primes.join(', ')}].${macro}(p, self.dataShard % p == 0 && self.dataShard > p)`;
}

function celList(words: readonly string[]): string {
  return `[${words.map((word) => `'${word}'`).join(', ')}]`;
}

function isOneOf(words: readonly string[], word: string): boolean {
  return words.includes(word);
}
