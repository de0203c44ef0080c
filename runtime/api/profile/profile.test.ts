// What the accounts and the file of a profile say of spans that are written by hand.
import { describe, expect, it } from 'vitest';
import { accountsOf, coverage, gapsOf, totalOf } from './account.ts';
import { chromeTrace } from './chrome.ts';
import type { ProfilePart, ProfileSpan, SpanKind } from './part.ts';
import { profileReport } from './report.ts';

const span = (name: string, beginUs: number, endUs: number, kind: SpanKind = 'operation', row = 0): ProfileSpan => ({
  row,
  name,
  kind,
  beginUs,
  endUs,
});
const step = (beginUs: number, endUs: number, name = 'step 1') => ({ name, row: 0, beginUs, endUs, args: {} });
const part = (spans: ProfileSpan[], windows = [step(1000, 2000)], more: Partial<ProfilePart> = {}): ProfilePart => ({
  process: 'job rank 0',
  order: 0,
  rows: ['compute', 'communication 1'],
  spans,
  windows,
  left: 0,
  ...more,
});

describe('the account of a step', () => {
  it('sums up the spans of its row by name, cut to what lies inside of it', () => {
    const [account] = accountsOf(
      part([span('linear', 900, 1300), span('linear', 1300, 1500), span('idle', 1500, 1900, 'idle'), span('late', 1900, 2600)]),
    );
    expect(account).toEqual({
      name: 'step 1',
      wallMs: 1,
      untracedMs: 0,
      entries: [
        { name: 'linear', kind: 'operation', calls: 2, milliseconds: 0.5 },
        { name: 'idle', kind: 'idle', calls: 1, milliseconds: 0.4 },
        { name: 'late', kind: 'operation', calls: 1, milliseconds: 0.1 },
      ],
    });
  });

  it('counts time that no span covers as untraced, also where another row has spans', () => {
    const [account] = accountsOf(part([span('linear', 1000, 1600), span('allReduce', 1000, 2000, 'communication', 1)]));
    expect(account!.untracedMs).toBeCloseTo(0.4);
    expect(coverage(account!)).toBeCloseTo(0.6);
  });

  it('counts no microsecond twice where spans overlap', () => {
    const [account] = accountsOf(part([span('linear', 1000, 1800), span('norm', 1500, 2000), span('inside', 1600, 1700)]));
    expect(account!.untracedMs).toBeCloseTo(0);
    expect(account!.entries.map(({ milliseconds }) => milliseconds)).toEqual([0.8, 0.2, 0]);
  });

  it('adds up with others to one account', () => {
    const both = part([span('linear', 1000, 1500), span('linear', 2000, 3000)], [step(1000, 2000), step(2000, 3000)]);
    expect(totalOf(accountsOf(both), 'total')).toEqual({
      name: 'total',
      wallMs: 2,
      untracedMs: 0.5,
      entries: [{ name: 'linear', kind: 'operation', calls: 2, milliseconds: 1.5 }],
    });
  });

  it('names the gaps that are long enough, at its ends too', () => {
    const holes = part([span('linear', 1100, 1500), span('norm', 1510, 1700)]);
    expect(gapsOf(holes, 20)).toEqual([
      { row: 0, beginUs: 1000, endUs: 1100 },
      { row: 0, beginUs: 1700, endUs: 2000 },
    ]);
  });
});

describe('the file of a profile', () => {
  const ranks = [
    part([span('linear', 1e6 + 500, 1e6 + 900)], [step(1e6 + 500, 1e6 + 1000)], { process: 'job rank 1', order: 1 }),
    part([span('linear', 1e6, 1e6 + 1000)], [step(1e6, 1e6 + 1000)]),
  ];

  it('has a process for each rank, in their order, and times from the first event on', () => {
    const { traceEvents } = chromeTrace(ranks);
    const processes = traceEvents.filter(({ name }) => name === 'process_name');
    expect(processes.map(({ pid, args }) => [pid, args])).toEqual([
      [0, { name: 'job rank 0' }],
      [1, { name: 'job rank 1' }],
    ]);
    expect(traceEvents.filter(({ name }) => name === 'linear').map(({ pid, tid, ts, dur }) => [pid, tid, ts, dur])).toEqual([
      [0, 1, 0, 1000],
      [1, 1, 500, 400],
    ]);
    expect(traceEvents.filter(({ cat }) => cat === 'untraced')).toMatchObject([{ pid: 1, ts: 900, dur: 100 }]);
  });

  it('leaves out what there is no room for, and the steps that it would not account for', () => {
    const many = Array.from({ length: 100 }, (_, index) => span('linear', index * 10, index * 10 + 10));
    const long = part(many, [step(0, 400, 'step 1'), step(400, 1000, 'step 2')]);
    const { otherData, traceEvents } = chromeTrace([long], { maxSpans: 50 });
    expect(otherData.left).toBe(50);
    expect(otherData.windows.map(({ name, coverage: covered }) => [name, covered])).toEqual([['step 1', 1]]);
    expect(traceEvents.filter(({ cat }) => cat === 'operation')).toHaveLength(50);
  });

  it('is told in a few lines', () => {
    const spans = [
      span('linear', 1000, 1600),
      span('idle, until norm was enqueued', 1600, 1900, 'idle'),
      span('norm', 1900, 1980),
    ];
    const request = part([span('embedding', 0, 1000)], [step(0, 1000, 'request 7')], { process: 'pod (model)', order: 9 });
    expect(profileReport(chromeTrace([part(spans), request]))).toMatchInlineSnapshot(`
      "1 step and 1 request, 99.0 % of their time accounted for
        50.0 %  embedding, 1 times
        30.0 %  linear, 1 times
        15.0 %  idle, until norm was enqueued, 1 times
         4.0 %  norm, 1 times
      "
    `);
  });
});
