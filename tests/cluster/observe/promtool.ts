// Prometheus's own promtool, and the tests of rules that it runs.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { capture } from '../../../hack/test-cluster/command.ts';
import { binaryOf } from '../../../hack/test-cluster/components.ts';
import { notation, seriesName } from '../../../hack/observe/recording.ts';
import type { Recording } from '../../../hack/observe/recording.ts';
import { chart } from '../helm.ts';

export const rules = join(chart, 'files/alerts.yaml');

export interface ExpressionTest {
  readonly expr: string;
  /** Seconds since the beginning. */
  readonly at: number;
  /** The value of the one sample without labels that it must give, or that it gives none. */
  readonly gives: number | 'nothing';
}

/** Throws with what promtool says where one of the expressions gives something else. The alerts are evaluated beside. */
export async function testExpressions(recording: Recording, tests: readonly ExpressionTest[]): Promise<void> {
  const { intervalSeconds, series } = recording;
  const interval = `${intervalSeconds}s`;
  await run({
    rule_files: [rules],
    evaluation_interval: '30s',
    tests: [
      {
        interval,
        // Prometheus marks a series that a reading lacks as stale; without that it would seem to be there for five minutes more.
        input_series: series.map((one) => ({ series: seriesName(one), values: notation(one.values, 'stale') })),
        promql_expr_test: tests.map(({ expr, at, gives }) => ({
          expr,
          eval_time: `${at}s`,
          exp_samples: gives === 'nothing' ? [] : [{ labels: '{}', value: gives }],
        })),
      },
    ],
  });
}

async function run(file: object): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'wl-promtool-'));
  try {
    const path = join(folder, 'test.yaml');
    // JSON is YAML.
    writeFileSync(path, JSON.stringify(file));
    await capture(binaryOf('promtool'), ['test', 'rules', path]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
