import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { buildSchedule } from '#runtime/parallel/schedule/build.ts';
import { withCommunication } from '#runtime/parallel/schedule/communication.ts';
import { withSharding } from '#runtime/parallel/schedule/sharding.ts';
import { anyWishes, thrownBy } from '#runtime/parallel/schedule/testing.ts';
import { checkSchedule } from './check.ts';
import { formatScheduleCsv, parseScheduleCsv } from './csv.ts';
import { ScheduleError } from './walk.ts';

it('reads back every schedule that it writes, with communication and sharding', () => {
  const sharding = fc.record({ reshardAfterForward: fc.boolean(), reduceEveryGrain: fc.boolean() });
  fc.assert(
    fc.property(anyWishes, fc.option(sharding, { nil: undefined }), fc.boolean(), (wishes, sharded, communicate) => {
      let schedule = buildSchedule(wishes);
      if (communicate) schedule = withCommunication(schedule);
      if (sharded) schedule = withSharding(schedule, sharded);
      const text = formatScheduleCsv(schedule);
      fc.pre(text.length <= 60_000);
      expect(parseScheduleCsv(text)).toEqual(schedule);
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
  const text = '# a comment\r\n# name: mine\r\nF0.0,,,B0.0\r\n\r\n,F1.0,B1.0,\r\n,,,\r\n';
  expect(parseScheduleCsv(text)).toEqual({
    ...buildSchedule({ schedule: 'gpipe', pipeline: 2, stagesPerRank: 1, grains: 1 }),
    name: 'mine',
  });
});

const messageOf = (text: string) => (thrownBy(() => parseScheduleCsv(text)) as ScheduleError).message;

describe('names line, column and what would be right', () => {
  it.each([
    ['F0.0,G0.0', 'line 1, column 6: "G0.0" is no action; F0.3 is one: forward of stage 0, grain 3'],
    ['F0.0,reduce0', 'line 1, column 6: "reduce0" is no action; REDUCE0 is one'],
    ['F0.0;B0.0', 'line 1, column 1: "F0.0;B0.0" is no action; cells are separated by commas'],
    ['# name: x\n\nF0.0,  B0', 'line 3, column 8: B0 names no grain; B0.0 would be grain 0'],
    [
      'UNSHARD0.1,F0.0,B0.0',
      'line 1, column 1: UNSHARD0.1 names a grain, but weights are gathered and freed for all; UNSHARD0 is right',
    ],
    ['F0.0,B0.0\nF0.1', 'line 2, column 1: F0.1: stage 0 is computed on line 1 already; each stage belongs to one line'],
    ['F0.0,F99999999999.0', 'line 1, column 6: F99999999999.0: a schedule has at most 4096 stages'],
    ['F0.99999999999', 'line 1, column 1: F0.99999999999: a schedule has at most 65536 grains'],
    ['F0.0,F2.0,B2.0,B0.0', 'line 1, column 6: F2.0: stage 1 is computed nowhere; stages go from 0 on without a gap'],
    ['F0.1,F0.0,B0.0,B0.1', 'line 1, column 1 (F0.1): the forward of stage 0 goes on with grain 0 here'],
    ['F0.0,F0.1,B0.0,I0.1\n', 'line 1, column 20 (its end): the weight gradient of stage 0 lacks grain 1'],
    ['F0.0,B0.0,B0.0', 'line 1, column 11 (B0.0): the input gradient of stage 0 is complete before it'],
    ['F0.0,SF0.0,B0.0\nRF1.0,F1.0,B1.0,SB1.0', 'line 2, column 17 (SB1.0): nobody receives it; RB0.0 is missing'],
    ['F0.0,SF0.0,B0.0\nRF1.0,F1.0,B1.0', 'line 1, column 12 (B0.0) needs RB0.0, which line 1 lacks'],
    ['F0.0,B0.0\nSF0.0', 'line 2, column 6 (its end): no stage is computed here'],
    ['F0.0,B0.0\nF1.0,B1.0,SF0.0', 'line 2, column 11 (SF0.0): stage 0 lies on line 1; it belongs there'],
    ['', 'line 1, column 1: no rank computes anything; F0.0,B0.0 would be a step of one rank'],
    ['# Ω', 'line 1, column 3: "Ω"; only plain ASCII is taken'],
    ['F0.0,B0.0\n\u001b[2J', 'line 2, column 1: "\\u001b"; only plain ASCII is taken'],
    [`# name: ${'x'.repeat(64)}`, 'line 1, column 1: the name has 64 characters; at most 63 are taken'],
    ['F0.0\n'.repeat(1025), 'line 1025, column 1: this line is rank 1024; a pipeline has at most 1024 ranks'],
    [',\n'.repeat(30_001), 'line 1, column 1: the text has 60002 characters; at most 60000 are taken'],
  ])('%j', (text, message) => {
    expect(thrownBy(() => parseScheduleCsv(text))).toEqual(new ScheduleError(message));
  });

  it('of the first actions in a circle through many ranks', () => {
    const schedule = buildSchedule({ schedule: 'interleaved', pipeline: 12, stagesPerRank: 2, grains: 1 });
    const text = formatScheduleCsv(schedule).replace('F0.0,F12.0', 'F12.0,F0.0');
    expect(messageOf(text).split(/(?<=[;.]) /)).toEqual([
      'deadlock: line 2, column 1 (F12.0) waits for line 13, column 1 (F11.0);',
      ...[13, 12, 11, 10, 9, 8, 7].map(
        (line) => `line ${line}, column 1 (F${line - 2}.0) waits for line ${line - 1}, column 1 (F${line - 3}.0);`,
      ),
      'and so on, 12 of them in a circle.',
      'Move something that is waited for before what it stands behind',
    ]);
  });

  it('of each action in a circle that waits for itself', () => {
    const text = 'RB0.0,F0.0,SF0.0,B0.0\n# the second rank\nRF1.0,F1.0,B1.0,SB1.0\n';
    expect(messageOf(text).split(/(?<=[;.]) /)).toEqual([
      'deadlock: line 1, column 1 (RB0.0) waits for line 3, column 17 (SB1.0), which stands behind line 3, column 1 (RF1.0);',
      'line 3, column 1 (RF1.0) waits for line 1, column 12 (SF0.0), which stands behind line 1, column 1 (RB0.0).',
      'Move something that is waited for before what it stands behind',
    ]);
  });
});

describe('answers with a schedule that passes the check, or with ScheduleError at a line and column', () => {
  const isAnswered = (text: string) => {
    try {
      checkSchedule(parseScheduleCsv(text));
    } catch (error) {
      expect(error).toBeInstanceOf(ScheduleError);
      expect((error as ScheduleError).message).toMatch(/^(deadlock: )?line \d+, column \d+/);
    }
  };

  it('any text', () => {
    const pieces = [
      'F',
      'B',
      'I',
      'W',
      'SF',
      'RF',
      'SB',
      'RB',
      'UNSHARD',
      'RESHARD',
      'REDUCE',
      '0',
      '1',
      '.',
      ',',
      '\n',
      '#',
      ' ',
    ];
    const cells = fc.array(fc.constantFrom(...pieces), { maxLength: 40 }).map((parts) => parts.join(''));
    fc.assert(fc.property(fc.oneof(cells, fc.string({ unit: 'binary', maxLength: 60 })), isAnswered), { numRuns: 2000 });
  });

  it('a schedule with a few cells moved, lost, doubled or changed', () => {
    const edits = fc.array(fc.tuple(fc.constantFrom('move', 'lose', 'double', 'change'), fc.nat(), fc.nat()), {
      minLength: 1,
      maxLength: 3,
    });
    const letters = ['F', 'B', 'I', 'W', 'SF', 'RF', 'SB', 'RB'];
    fc.assert(
      fc.property(anyWishes, fc.boolean(), edits, (wishes, communicate, changes) => {
        const built = buildSchedule({ ...wishes, grains: Math.min(wishes.grains, 2 * wishes.pipeline) });
        const text = formatScheduleCsv(communicate ? withCommunication(built) : built);
        const cells = text.split(/(?<=[,\n])/);
        for (const [kind, from, to] of changes) {
          const at = 1 + (from % (cells.length - 1));
          const cell = cells[at]!;
          if (kind === 'double') cells.splice(at, 0, cell);
          if (kind === 'change') cells[at] = cell.replace(/^[A-Z]+/, letters[to % letters.length]!);
          if (kind === 'lose' || kind === 'move') cells.splice(at, 1);
          if (kind === 'move') cells.splice(1 + (to % cells.length), 0, cell);
        }
        isAnswered(cells.join(''));
      }),
      { numRuns: 1000 },
    );
  });
});
