import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatFault, validate } from '../faults.ts';
import { transitionFaults } from '../resource.ts';
import { layoutRules } from './layout-rules.ts';
import { Parallelism, parallelismOf } from './parallelism.ts';
import { TrainingJob } from './training-job.ts';

const example = TrainingJob.definition.example['spec'] as { task: { pretrain: object } };

/** A job of 96 sequences of 256 tokens with these settings. */
function check(settings: object, grains: number) {
  const batch = { sequences: 96, length: 256, grains };
  const spec = { ...example, task: { pretrain: { ...example.task.pretrain, batch } }, ...settings };
  return validate(TrainingJob, { apiVersion: TrainingJob.apiVersion, kind: 'TrainingJob', metadata: { name: 'x' }, spec });
}

function said(settings: object, grains = 8): string {
  const result = check(settings, grains);
  return result.ok ? 'valid' : result.faults.map(formatFault).join(' | ');
}

describe('parallelism', () => {
  const legal: [object, number][] = [
    [{}, 1],
    [{}, 3],
    [{ dataReplicate: 2, dataShard: 2, zero: 2, tensor: 2, sequenceParallel: true, pipeline: 2 }, 4],
    [{ dataShard: 3 }, 6],
    [{ dataShard: 4, reshardAfterForward: false }, 8],
    [{ dataShard: 8, reshardWithin: 4, reduceEveryGrain: true }, 8],
    [{ dataShard: 6, reshardWithin: 3 }, 6],
    [{ dataShard: 2, zero: 2, reduceEveryGrain: true }, 8],
    [{ pipeline: 4, schedule: 'interleaved', stagesPerRank: 3 }, 8],
    [{ pipeline: 2, schedule: 'zbv', stagesPerRank: 2, stageLayers: [0, 3, 3, 0] }, 8],
    [{ pipeline: 2, schedule: 'interleaved', stageLayers: [1, 2, 2, 1] }, 8],
    [{ pipeline: 2, schedule: 'csv', scheduleCsv: 'F0.0,B0.0\nF1.0,B1.0\n', stageLayers: [4, 2] }, 8],
  ];
  it.each(legal)('takes %j with %i grains', (parallelism, grains) => {
    expect(said({ parallelism }, grains)).toBe('valid');
  });

  const refused: Record<string, [object, number?]> = {
    'more ranks than anybody has': [{ parallelism: { dataShard: 8, pipeline: 1024 } }],
    'zero without shards': [{ parallelism: { zero: 1 } }],
    'nothing to give back': [{ parallelism: { dataShard: 2, zero: 2, reshardAfterForward: false } }],
    'parts of what is kept anyway': [{ parallelism: { dataShard: 4, reshardAfterForward: false, reshardWithin: 2 } }],
    'neighbours that do not divide': [{ parallelism: { dataShard: 6, reshardWithin: 4 } }, 6],
    'as many neighbours as shards': [{ parallelism: { dataShard: 3, reshardWithin: 3 } }, 6],
    'shards of gradients that are whole': [{ parallelism: { dataShard: 2, zero: 1, reduceEveryGrain: true } }],
    'turns of three': [{ parallelism: { dataShard: 6, reduceEveryGrain: true } }, 6],
    'every grain without shards': [{ parallelism: { dataReplicate: 2, reduceEveryGrain: true } }],
    'sequences without tensor': [{ parallelism: { sequenceParallel: true } }],
    'three ranks for a matrix': [{ parallelism: { tensor: 3 } }],
    'schedule without pipeline': [{ parallelism: { schedule: 'gpipe' } }],
    'one stage interleaved': [{ parallelism: { pipeline: 2, schedule: 'interleaved', stagesPerRank: 1 } }],
    'a V of three': [{ parallelism: { pipeline: 2, schedule: 'dualpipev', stagesPerRank: 3 } }],
    'two stages in one': [{ parallelism: { pipeline: 2, stagesPerRank: 2 } }],
    'too few grains': [{ parallelism: { dataReplicate: 2, dataShard: 4 } }, 4],
    'grains that do not divide': [{ parallelism: { dataShard: 3 } }, 8],
    'fewest ranks that no halving gives': [{ parallelism: { dataReplicate: 4 }, elastic: { minRanks: 3 } }],
    'fewest ranks below tensor': [{ parallelism: { dataReplicate: 2, tensor: 2 }, elastic: { minRanks: 1 } }],
    'more ranks than grains': [{ parallelism: { dataReplicate: 4 }, elastic: { minRanks: 2, maxRanks: 16 } }],
    "a schedule of one's own without text": [{ parallelism: { pipeline: 2, schedule: 'csv' } }],
    'a text and another schedule': [{ parallelism: { pipeline: 2, schedule: 'zbv', scheduleCsv: 'F0.0,B0.0' } }],
    'a text and stages': [{ parallelism: { pipeline: 2, schedule: 'csv', stagesPerRank: 2, scheduleCsv: 'F0.0,B0.0' } }],
    'a text that is none': [{ parallelism: { pipeline: 2, schedule: 'csv', scheduleCsv: '\u0007' } }],
    'a text for other ranks': [
      { parallelism: { pipeline: 2, dataReplicate: 2, schedule: 'csv', scheduleCsv: 'F0.0' }, elastic: { minRanks: 2 } },
    ],
    'layers without pipeline': [{ parallelism: { stageLayers: [3, 3] } }],
    'layers of other stages': [{ parallelism: { pipeline: 2, schedule: 'interleaved', stageLayers: [3, 3] } }],
    'recomputation by name and by budget': [{ recompute: 'block', recomputeBudgetMiB: 512 }],
  };
  it('says what does not fit, and what would', () => {
    expect(Object.fromEntries(Object.entries(refused).map(([name, [settings, grains]]) => [name, said(settings, grains)])))
      .toMatchInlineSnapshot(`
        {
          "a V of three": "spec.parallelism.stagesPerRank: schedules zbv and dualpipev need stagesPerRank: 2",
          "a schedule of one's own without text": "spec.parallelism.scheduleCsv: schedule: csv and scheduleCsv belong together; set both or neither",
          "a text and another schedule": "spec.parallelism.scheduleCsv: schedule: csv and scheduleCsv belong together; set both or neither",
          "a text and stages": "spec.parallelism.stagesPerRank: scheduleCsv says which stage lies where; leave stagesPerRank out",
          "a text for other ranks": "spec.parallelism.scheduleCsv: scheduleCsv is for one number of grains per data rank, which elastic changes; leave one of them out",
          "a text that is none": "spec.parallelism.scheduleCsv: must be plain ASCII; got "\\u0007"",
          "as many neighbours as shards": "spec.parallelism.reshardWithin: reshardWithin must be less than dataShard (3) and divide it; leave it out",
          "every grain without shards": "spec.parallelism.dataShard: zero, reshardAfterForward and reduceEveryGrain say how dataShard shards; set dataShard above 1 or leave them out",
          "fewest ranks below tensor": "spec.elastic.minRanks: minRanks must be the ranks of parallelism, or half, a quarter ... of them, as often as dataReplicate x dataShard can be halved",
          "fewest ranks that no halving gives": "spec.elastic.minRanks: minRanks must be the ranks of parallelism, or half, a quarter ... of them, as often as dataReplicate x dataShard can be halved",
          "grains that do not divide": "spec.task.pretrain.batch.grains: grains must be dataReplicate x dataShard (3) times a power of two; 12 fits",
          "layers of other stages": "spec.parallelism.stageLayers: stageLayers must have an entry for each stage: pipeline x stagesPerRank of them",
          "layers without pipeline": "spec.parallelism.pipeline: schedule, stagesPerRank and stageLayers say how pipeline goes; set pipeline above 1 or leave them out",
          "more ranks than anybody has": "spec.parallelism: the product of dataReplicate, dataShard, tensor and pipeline must be at most 1024",
          "more ranks than grains": "spec.elastic.maxRanks: maxRanks must be the ranks of parallelism times a power of two, with at least one of task.pretrain.batch.grains for each data rank",
          "neighbours that do not divide": "spec.parallelism.reshardWithin: reshardWithin must be less than dataShard (6) and divide it; 3 fits",
          "nothing to give back": "spec.parallelism.reshardAfterForward: reshardAfterForward: false needs zero: 3; zero 1 and 2 keep all weights anyway",
          "one stage interleaved": "spec.parallelism.stagesPerRank: schedule interleaved needs stagesPerRank of 2 or more",
          "parts of what is kept anyway": "spec.parallelism.reshardWithin: reshardWithin needs zero: 3 and reshardAfterForward: true; others keep all weights anyway",
          "recomputation by name and by budget": "spec.recomputeBudgetMiB: set recompute or recomputeBudgetMiB, not both",
          "schedule without pipeline": "spec.parallelism.pipeline: schedule, stagesPerRank and stageLayers say how pipeline goes; set pipeline above 1 or leave them out",
          "sequences without tensor": "spec.parallelism.sequenceParallel: sequenceParallel needs tensor above 1",
          "shards of gradients that are whole": "spec.parallelism.reduceEveryGrain: reduceEveryGrain needs zero: 2 or 3; with zero: 1 gradients are whole anyway",
          "three ranks for a matrix": "spec.parallelism.tensor: must be one of 1, 2, 4, 8; got 3",
          "too few grains": "spec.task.pretrain.batch.grains: grains must be dataReplicate x dataShard (8) times a power of two; 8 fits",
          "turns of three": "spec.parallelism.reduceEveryGrain: reduceEveryGrain needs a power of two for dataShard; 4 fits",
          "two stages in one": "spec.parallelism.stagesPerRank: schedules gpipe, 1f1b and zb1p need stagesPerRank: 1; interleaved takes more",
          "zero without shards": "spec.parallelism.dataShard: zero, reshardAfterForward and reduceEveryGrain say how dataShard shards; set dataShard above 1 or leave them out",
        }
      `);
  });

  it('fills in the stages that the schedule takes', () => {
    const stages = (written: object) => parallelismOf(Parallelism.parse(written)).stagesPerRank;
    expect([{}, { pipeline: 2 }, { pipeline: 2, schedule: 'zbv' }, { pipeline: 2, schedule: 'interleaved' }].map(stages)).toEqual(
      [1, 1, 2, 2],
    );
  });

  it('changes only while the job does not run', () => {
    const spec = (settings: object) => {
      const result = check(settings, 8);
      if (!result.ok) throw new Error(result.faults.map(formatFault).join());
      return result.object.spec;
    };
    const [before, after] = [{ parallelism: { dataShard: 2 } }, { parallelism: { tensor: 2 } }];
    expect(transitionFaults(TrainingJob, spec(after), spec(before)).map(({ message }) => message)).toEqual([
      "parallelism can't change while the job runs; set suspend: true first",
    ]);
    expect(transitionFaults(TrainingJob, spec({ ...after, suspend: true }), spec(before))).toEqual([]);
  });
});

/** CEL as JavaScript, as far as our rules go: macros, `has`, `in` and `format`. */
function fromCel(cel: string): (self: unknown) => unknown {
  const script = cel
    .replaceAll(/has\(([\w.]+)\)/g, '($1 !== undefined)')
    .replaceAll(/(self\.[\w.]+) in (\[[^\]]*\])/g, '$2.includes($1)')
    .replaceAll(/\.exists\((\w+), /g, '.some(($1) => ')
    .replaceAll(/\.filter\((\w+), /g, '.filter(($1) => ')
    .replaceAll(/('[^']*')\.format\(/g, 'format($1, ')
    .replaceAll('.size()', '.length')
    .replaceAll(' == ', ' === ');
  // oxlint-disable-next-line typescript/no-implied-eval -- the text is our own
  const judge = new Function('self', 'format', `return ${script}`) as (self: unknown, format: unknown) => unknown;
  const format = (text: string, values: readonly number[]) =>
    values.reduce((rest, value) => rest.replace('%d', `${value}`), text);
  return (self) => judge(self, format);
}

describe('the rules of an API server', () => {
  const axis = fc.constantFrom(1, 2, 3, 4, 8);
  const parallelism = fc.record(
    {
      dataReplicate: axis,
      dataShard: axis,
      tensor: fc.constantFrom(1, 2, 4),
      pipeline: axis,
      zero: fc.constantFrom(1, 2, 3),
      reshardAfterForward: fc.boolean(),
      reshardWithin: fc.constantFrom(2, 3, 4),
      reduceEveryGrain: fc.boolean(),
      sequenceParallel: fc.boolean(),
      schedule: fc.constantFrom('1f1b', 'gpipe', 'interleaved', 'zbv', 'csv'),
      scheduleCsv: fc.constant('F0.0,B0.0'),
      stagesPerRank: fc.constantFrom(1, 2, 3),
      stageLayers: fc.array(fc.nat(4), { minLength: 2, maxLength: 8 }),
    },
    {
      requiredKeys: [
        'dataReplicate',
        'dataShard',
        'tensor',
        'pipeline',
        'zero',
        'reshardAfterForward',
        'reduceEveryGrain',
        'sequenceParallel',
        'schedule',
      ],
    },
  );
  const spec = fc.record(
    {
      parallelism,
      elastic: fc.record({ minRanks: fc.integer({ min: 1, max: 16 }), maxRanks: axis }, { requiredKeys: ['minRanks'] }),
      task: fc.record({
        pretrain: fc.record({
          batch: fc.record({ sequences: fc.integer({ min: 1, max: 96 }), length: fc.constantFrom(6, 8), grains: axis }),
        }),
      }),
    },
    { requiredKeys: ['parallelism', 'task'] },
  );

  it.each(layoutRules.map((rule) => [rule.message, rule] as const))('judge as their twins do: %s', (_, rule) => {
    const [judges, explains] = [fromCel(rule.cel), rule.detail && fromCel(rule.detail.cel)];
    fc.assert(
      fc.property(spec, (self) => {
        const twin = self as unknown as Parameters<typeof rule.holds>[0];
        expect(judges(self)).toBe(rule.holds(twin));
        if (explains) expect(explains(self)).toBe(rule.detail?.text(twin));
      }),
      { numRuns: 500 },
    );
  });

  it('judge parallelism as its twin does', () => {
    const rules = Parallelism.meta()!['x-kubernetes-validations'] as {
      rule: string;
      message: string;
      messageExpression?: string;
    }[];
    fc.assert(
      fc.property(parallelism, (self) => {
        const parsed = Parallelism.safeParse(self);
        const messages = parsed.success ? [] : parsed.error.issues.map(({ message }) => message);
        const broken = rules.filter(({ rule }) => !fromCel(rule)(self));
        expect(
          broken.map(({ message, messageExpression }) => (messageExpression ? fromCel(messageExpression)(self) : message)),
        ).toEqual(messages);
      }),
      { numRuns: 500 },
    );
  });
});
