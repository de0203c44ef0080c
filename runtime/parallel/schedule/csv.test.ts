import fc from 'fast-check';
import { expect, it } from 'vitest';
import { WindlassError } from '#runtime/api/errors.ts';
import { buildSchedule } from './build.ts';
import { withCommunication } from './communication.ts';
import { formatScheduleCsv, parseScheduleCsv } from './csv.ts';
import { withSharding } from './sharding.ts';
import { anyWishes, thrownBy } from './testing.ts';

it('reads back every schedule that it writes, with communication and sharding', () => {
  const sharding = fc.record({ reshardAfterForward: fc.boolean(), reduceEveryGrain: fc.boolean() });
  fc.assert(
    fc.property(anyWishes, fc.option(sharding, { nil: undefined }), fc.boolean(), (wishes, sharded, communicate) => {
      let schedule = buildSchedule(wishes);
      if (communicate) schedule = withCommunication(schedule);
      if (sharded) schedule = withSharding(schedule, sharded);
      expect(parseScheduleCsv(formatScheduleCsv(schedule), 'x.csv')).toEqual(schedule);
    }),
    { numRuns: 100 },
  );
});

it('writes one line per rank', () => {
  const schedule = withCommunication(buildSchedule({ schedule: '1f1b', pipeline: 2, stagesPerRank: 1, grains: 2 }));
  expect(formatScheduleCsv(withSharding(schedule, { reshardAfterForward: false }))).toMatchInlineSnapshot(`
    "# name: 1f1b
    UNSHARD0,F0.0,SF0.0,F0.1,SF0.1,RB0.0,B0.0,RB0.1,B0.1,RESHARD0,REDUCE0
    UNSHARD1,RF1.0,F1.0,B1.0,SB1.0,RF1.1,F1.1,B1.1,RESHARD1,REDUCE1,SB1.1
    "
  `);
});

it('takes columns as time steps, with gaps, blank lines and Windows line ends', () => {
  const text = '# a comment\r\n# name: mine\r\nF0.0,,,B0.0\r\n\r\n,F1.0,B1.0,\r\n';
  expect(parseScheduleCsv(text, 'mine.csv')).toEqual({
    ...buildSchedule({ schedule: 'gpipe', pipeline: 2, stagesPerRank: 1, grains: 1 }),
    name: 'mine',
  });
});

it.each([
  ['F0.0,G0.0', 'bad.csv:1: cell 2: "G0.0" is no action; F0.3 is one: forward of stage 0, grain 3'],
  ['# name: x\n\nF0.0,B0', 'bad.csv:3: cell 2: B0 names no grain; B0.0 would be grain 0'],
  [
    'UNSHARD0.1,F0.0,B0.0',
    'bad.csv:1: cell 1: UNSHARD0.1 names a grain, but weights are gathered and freed for all; UNSHARD0 is right',
  ],
  ['F0.0,B0.0\nF0.1', 'bad.csv:2: cell 1: stage 0 is computed on rank 0 already; this line is rank 1'],
  ['F0.0,F99999999999.0', 'bad.csv:1: cell 2: F99999999999.0: a schedule has at most 4096 stages'],
  ['F0.99999999999', 'bad.csv:1: cell 1: F0.99999999999: a schedule has at most 1000000 grains'],
  ['F0.0,F2.0,B2.0,B0.0', 'bad.csv: stage 1 is computed nowhere, but stage 2 is'],
  [
    'F0.1,F0.0,B0.0,B0.1',
    'bad.csv: rank 0, position 0 (forward of stage 0, grain 1): the forward of stage 0 goes on with grain 0',
  ],
  ['', 'bad.csv: no rank computes anything'],
])('refuses %j', (text, message) => {
  expect(thrownBy(() => parseScheduleCsv(text, 'bad.csv'))).toMatchObject({ code: 'WL_MANIFEST_INVALID', message });
});

it('answers any text with a schedule or with WL_MANIFEST_INVALID, never otherwise', () => {
  const cells = fc.array(
    fc.constantFrom('F', 'B', 'I', 'W', 'SF', 'RF', 'UNSHARD', 'REDUCE', '0', '1', '.', ',', '\n', '#', ' '),
    {
      maxLength: 40,
    },
  );
  fc.assert(
    fc.property(
      cells.map((parts) => parts.join('')),
      (text) => {
        try {
          parseScheduleCsv(text, 'any.csv');
        } catch (error) {
          expect(error).toBeInstanceOf(WindlassError);
        }
      },
    ),
    { numRuns: 1000 },
  );
});
