// Rules of a TrainingJob between its layout and its batch: how many grains, and which numbers of ranks, a layout allows.
import type { z } from 'zod';
import type { Rule } from '../rules.ts';
import { ranksIn } from './parallelism.ts';
import type { Parallelism } from './parallelism.ts';
import type { Pretrain } from './pretrain.ts';

interface Spread {
  parallelism: z.output<typeof Parallelism>;
  elastic?: { minRanks: number; maxRanks?: number | undefined } | undefined;
  task: { pretrain?: Pretrain | undefined };
}

/** Powers of two up to the largest number of grains. */
const powers = Array.from({ length: 17 }, (_, exponent) => 2 ** exponent);
const celPowers = `[${powers.join(', ')}]`;

const celData = 'self.parallelism.dataReplicate * self.parallelism.dataShard';
const celRanks = `${celData} * self.parallelism.tensor * self.parallelism.pipeline`;
const celBatch = 'self.task.pretrain.batch';

const dataRanks = ({ parallelism }: Spread) => parallelism.dataReplicate * parallelism.dataShard;

const celFits = `p * ${celData} >= ${celBatch}.grains && ${celBatch}.sequences % (p * ${celData}) == 0`;
// An API server takes string() for a text of any length, and refuses the rule for its cost; format() it can estimate.
const celMust = "'grains must be dataReplicate x dataShard (%d) times a power of two";
const celNamed = `${celMust}; %d fits'.format([${celData}, ${celPowers}.filter(p, ${celFits})[0] * ${celData}])`;
const celOther = `${celMust} and divide sequences; grains: %d with sequences a multiple of it fits'.format([${celData}, ${celData}])`;

/** Gradients are added in a binary tree over the grains, of which each data rank owns a whole branch: a power of two. */
const grainsFit: Rule<Spread> = {
  cel: `!has(self.task.pretrain) || ${celData} == 1 || ${celPowers}.exists(p, p * ${celData} == ${celBatch}.grains)`,
  holds: (self) => {
    const [grains, data] = [self.task.pretrain?.batch.grains, dataRanks(self)];
    return grains === undefined || data === 1 || powers.some((power) => power * data === grains);
  },
  message: 'task.pretrain.batch.grains must be dataReplicate x dataShard times a power of two, and divide sequences',
  detail: {
    cel: `${celPowers}.exists(p, ${celFits}) ? ${celNamed} : ${celOther}`,
    text: (self) => {
      const data = dataRanks(self);
      const { grains = 1, sequences = 1 } = self.task.pretrain?.batch ?? {};
      const power = powers.find((candidate) => candidate * data >= grains && sequences % (candidate * data) === 0);
      const must = `grains must be dataReplicate x dataShard (${data}) times a power of two`;
      if (power !== undefined) return `${must}; ${power * data} fits`;
      return `${must} and divide sequences; grains: ${data} with sequences a multiple of it fits`;
    },
  },
  path: ['task', 'pretrain', 'batch', 'grains'],
};

const lengthFits: Rule<Spread> = {
  cel: `!has(self.task.pretrain) || !self.parallelism.sequenceParallel || ${celBatch}.length % self.parallelism.tensor == 0`,
  holds: ({ task, parallelism }) =>
    !parallelism.sequenceParallel || (task.pretrain?.batch.length ?? 0) % parallelism.tensor === 0,
  message: 'with sequenceParallel, task.pretrain.batch.length must be a multiple of tensor',
  path: ['task', 'pretrain', 'batch', 'length'],
};

/** Fewer ranks halve the data ranks: each of those left takes over a neighbour's branch of the grains. */
const fewestFit: Rule<Spread> = {
  cel: `!has(self.elastic) || ${celPowers}.exists(p, p * self.elastic.minRanks == ${celRanks} && (${celData}) % p == 0)`,
  holds: ({ parallelism, elastic }) =>
    !elastic ||
    powers.some(
      (power) =>
        power * elastic.minRanks === ranksIn(parallelism) && (parallelism.dataReplicate * parallelism.dataShard) % power === 0,
    ),
  message:
    'minRanks must be the ranks of parallelism, or half, a quarter ... of them, as often as dataReplicate x dataShard can be halved',
  path: ['elastic', 'minRanks'],
};

const mostFit: Rule<Spread> = {
  cel: `!has(self.elastic) || !has(self.elastic.maxRanks) || !has(self.task.pretrain) || ${celPowers}.exists(p, p * ${celRanks} == self.elastic.maxRanks && p * ${celData} <= ${celBatch}.grains)`,
  holds: (self) =>
    self.elastic?.maxRanks === undefined ||
    powers.some(
      (power) =>
        power * ranksIn(self.parallelism) === self.elastic?.maxRanks &&
        power * dataRanks(self) <= (self.task.pretrain?.batch.grains ?? Infinity),
    ),
  message:
    'maxRanks must be the ranks of parallelism times a power of two, with at least one of task.pretrain.batch.grains for each data rank',
  path: ['elastic', 'maxRanks'],
};

/** With fewer data ranks each works through more grains than its schedule has. */
const scheduleStays: Rule<Spread> = {
  cel: "!has(self.elastic) || self.parallelism.schedule != 'csv'",
  holds: ({ parallelism, elastic }) => !elastic || parallelism.schedule !== 'csv',
  message: 'scheduleCsv is for one number of grains per data rank, which elastic changes; leave one of them out',
  path: ['parallelism', 'scheduleCsv'],
};

export const layoutRules: readonly Rule<Spread>[] = [grainsFit, lengthFits, fewestFit, mostFit, scheduleStays];
