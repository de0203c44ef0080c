// The page of figures from lines that benches printed.
import { describe, expect, it } from 'vitest';
import { rowOf, withLimit } from './line.ts';
import type { BenchLine } from './line.ts';
import { withTables } from './report.ts';

const recorded: BenchLine = {
  bench: 'adamw',
  subject: 'shapes of GPT-2',
  isa: 'native',
  at: '2026-11-26T03:53:24.000Z',
  cpu: 'AMD EPYC',
  threads: 2,
  kernels: 'avx512',
  load: 25.1,
  limits: { fma: 177.07, read: 9.624, copy: 8.0666 },
  versions: { node: 'v26.10.0', torch: '2.15.0' },
  rounds: 5,
  rows: [
    {
      name: '13 million parameters',
      unit: 'GB/s',
      ours: 14.7,
      peer: 4.36,
      peerName: 'PyTorch',
      ratio: 3.37,
      cpuRatio: 1.52,
      limit: 'copy',
      percentOfLimit: 182.2,
    },
    { name: 'most memory', unit: 'MiB', ours: 1234.4 },
  ],
  notes: ['losses agree'],
};

const page = '# Page\n\nBy hand.\n\n<!-- bench: adamw -->\nold\n<!-- end of bench -->\n\nBy hand too.\n';

describe('the page of figures', () => {
  it('has a table for each line between its markers, and the words around them as they were', () => {
    expect(withTables(page, [recorded])).toMatchInlineSnapshot(`
      "# Page

      By hand.

      <!-- bench: adamw -->

      **shapes of GPT-2, native, AMD EPYC** (our kernels: avx512)

      | | ours | peer | ratio | by processor time | of the limit |
      |---|---|---|---|---|---|
      | 13 million parameters | 14.7 GB/s | 4.36 (PyTorch) | 3.37x | 1.52x | 182 % of copy |
      | most memory | 1234 MiB |  |  |  |  |

      2 threads; load 25.1 (loaded: only ratios mean something); FMA 177 GFLOP/s, reading 9.62 GB/s, copying 8.07 GB/s; 5 rounds; node v26.10.0; torch 2.15.0; 2026-11-26.
      Losses agree.

      <!-- end of bench -->

      By hand too.
      "
    `);
  });

  it('does not change when it is written again', () => {
    const once = withTables(page, [recorded]);
    expect(withTables(once, [recorded])).toBe(once);
  });

  it('has what was measured in another way beside it', () => {
    const deeper = { ...recorded, rows: [{ ...recorded.rows[0]!, name: '50 million parameters' }] };
    const both = withTables(page, [recorded, deeper]);
    expect(both).toContain('| 13 million parameters |');
    expect(both).toContain('| 50 million parameters |');
  });

  it('has the newest line of each machine and class of instructions', () => {
    const older = { ...recorded, load: 1.5 };
    const avx2 = { ...recorded, isa: 'avx2', load: 2.5 } as const;
    const text = withTables(page, [older, avx2, recorded]);
    expect(text.match(/load [\d.]+/g)).toEqual(['load 25.1', 'load 2.5']);
  });

  it('calls a machine loaded where more wants to run than the threads of the bench itself', () => {
    expect(withTables(page, [recorded])).toContain('load 25.1 (loaded: only ratios mean something)');
    expect(withTables(page, [{ ...recorded, load: recorded.threads + 0.4 }])).toContain('load 2.4; FMA');
    expect(withTables(page, [{ ...recorded, load: recorded.threads + 1.4 }])).toContain('load 3.4 (loaded');
    expect(withTables(page, [{ ...recorded, load: 0.4 }])).toMatch(/load 0\.4;/);
  });

  it('says of what was not measured how to do it', () => {
    expect(withTables(page, [])).toContain('Not measured yet: `npm run bench -- adamw --keep`.');
  });

  it('is not written where a line has no block', () => {
    expect(() => withTables(page, [recorded, { ...recorded, bench: 'gemm' }])).toThrow(
      'the page has no block <!-- bench: gemm -->',
    );
  });
});

describe('a row', () => {
  it('says more than 1 where we are better: with more of a rate, with less of a time', () => {
    expect(rowOf('speed', 'tokens/s', { ours: 30, peer: 20 })).toMatchObject({ ratio: 1.5 });
    expect(rowOf('start', 's', { ours: 2, peer: 3, better: 'less' })).toMatchObject({ ratio: 1.5 });
    expect(rowOf('speed', 'tokens/s', { ours: 30 })).toEqual({ name: 'speed', unit: 'tokens/s', ours: 30 });
  });

  it('says how much of a limit of the machine it reaches', () => {
    const row = withLimit(rowOf('decode', 'tokens/s', { ours: 10 }), 'read', 5, { fma: 100, read: 20, copy: 10 });
    expect(row).toMatchObject({ limit: 'read', percentOfLimit: 25 });
  });
});
