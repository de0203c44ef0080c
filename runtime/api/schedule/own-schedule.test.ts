import { expect, it } from 'vitest';
import { TrainingJob } from '#crds/v1alpha1/training-job.ts';
import { ownScheduleFault } from './own-schedule.ts';

const plain = 'F0.0,F0.1,B0.0,B0.1\nF1.0,F1.1,B1.0,B1.1\n';
const gathered = plain.replaceAll(/^F(\d)/gm, 'UNSHARD$1,F$1').replaceAll(/B(\d).1$/gm, 'B$1.1,RESHARD$1');
const reduced = plain.replaceAll(/(B(\d).1)$/gm, '$1,REDUCE$2');
const sharded = gathered.replaceAll(/(RESHARD(\d))$/gm, '$1,REDUCE$2');
const each = sharded.replaceAll(/B(\d).0/g, 'B$1.0,REDUCE$1.0').replaceAll(/REDUCE(\d)$/gm, 'REDUCE$1.1');

/** What is wrong with the schedule in a job of two ranks in a pipeline and 8 grains for four data ranks. */
function faultOf(scheduleCsv: string, changed: object = {}): string {
  const spec = TrainingJob.definition.spec.parse({
    ...(TrainingJob.definition.example['spec'] as object),
    task: { pretrain: { steps: 1, batch: { sequences: 16, length: 16, grains: 8 } } },
    parallelism: { pipeline: 2, dataReplicate: 2, dataShard: 2, schedule: 'csv', scheduleCsv, ...changed },
  });
  return ownScheduleFault(spec) ?? 'none';
}

it('takes actions of shards that are whole and go with the layout, or none', () => {
  expect(faultOf(plain)).toBe('none');
  expect(faultOf(sharded)).toBe('none');
  expect(faultOf(sharded, { zero: 2 })).toBe('none');
  expect(faultOf(reduced, { zero: 2 })).toBe('none');
  expect(faultOf(reduced, { dataReplicate: 4, dataShard: 1 })).toBe('none');
  expect(faultOf(each, { reduceEveryGrain: true })).toBe('none');
});

it('says what does not go with the job, and what would', () => {
  expect({
    'other ranks': faultOf(plain, { pipeline: 4 }),
    'other grains': faultOf(plain, { dataShard: 4 }),
    'gradients that nobody adds up': faultOf(gathered),
    'gradients that nobody adds up on one rank': faultOf(reduced.replace(',REDUCE0', ''), { zero: 2 }),
    'weights that nobody gathers': faultOf(reduced),
    'gradients of each grain': faultOf(each),
    'gradients of all grains': faultOf(sharded, { reduceEveryGrain: true }),
  }).toMatchInlineSnapshot(`
    {
      "gradients of all grains": "spec.parallelism.scheduleCsv: reduces gradients of all grains at once, but reduceEveryGrain is true: REDUCE0.0 and so on would fit",
      "gradients of each grain": "spec.parallelism.scheduleCsv: reduces the gradients of each grain, but reduceEveryGrain is false: REDUCE0 and so on would fit",
      "gradients that nobody adds up": "spec.parallelism.scheduleCsv: has no REDUCE0: write UNSHARD, RESHARD and REDUCE for every stage, or none of them, and they are put in",
      "gradients that nobody adds up on one rank": "spec.parallelism.scheduleCsv: has no REDUCE0: write UNSHARD, RESHARD and REDUCE for every stage, or none of them, and they are put in",
      "other grains": "spec.parallelism.scheduleCsv: is for 2 grains, but each data rank works through 1: it needs batch.grains: 16, or cells for 1",
      "other ranks": "spec.parallelism.scheduleCsv: has 2 lines of actions, one for each rank, but the pipeline has 4 ranks: pipeline: 2 would fit",
      "weights that nobody gathers": "spec.parallelism.scheduleCsv: has no UNSHARD0: write UNSHARD, RESHARD and REDUCE for every stage, or none of them, and they are put in",
    }
  `);
});
