// Dashboards and alerts, judged by Prometheus's promtool on series of a real run: every panel shows something, every alert tells its fault and
// is silent without it.
import { globSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { alertGroups } from '../../hack/observe/alerts.ts';
import { allSeriesNames } from '../../hack/observe/exported.ts';
import { parseRecording } from '../../hack/observe/recording.ts';
import type { Recording } from '../../hack/observe/recording.ts';
import { dashboards } from '../../hack/gen-observe.ts';
import { build } from '../../hack/test-cluster/build.ts';
import { capture } from '../../hack/test-cluster/command.ts';
import { binaryOf } from '../../hack/test-cluster/components.ts';
import { faults } from './observe/faults.ts';
import { faulty, lasting } from './observe/lasting.ts';
import { rules, testExpressions } from './observe/promtool.ts';

const root = resolve(import.meta.dirname, '../..');
const recorded = parseRecording(readFileSync(join(root, 'tests/fixtures/metrics/recorded.txt'), 'utf8'));
const recordedSeconds = (recorded.series[0]!.values.length - 1) * recorded.intervalSeconds;
const recordedNames = new Set(recorded.series.map(({ name }) => name));
const alerts = Object.values(alertGroups).flat();
const panels = dashboards.flatMap(({ name, rows }) =>
  rows.flatMap((row) => row.panels.flatMap((panel) => panel.queries.map(({ expr }) => ({ dashboard: name, panel, expr })))),
);

/** Names of series that an expression selects. */
const namesIn = (expr: string): string[] =>
  [...expr.replace(/"[^"]*"/g, '""').matchAll(/\b[a-z_]\w*(?::\w+)?/g)]
    .map(([name]) => name)
    .filter((name) => /^(windlass|vllm|controller_runtime|workqueue|rest_client|leader_election|process|nodejs)[_:]/.test(name));
/** An expression of a panel with everything chosen, at the recording's own pace. */
const chosen = (expr: string): string => expr.replaceAll('$__rate_interval', '30s').replaceAll(/\$\w+/g, '.*');
const only = ({ intervalSeconds, series }: Recording, names: ReadonlySet<string>): Recording => ({
  intervalSeconds,
  series: series.filter(({ name }) => names.has(name)),
});

beforeAll(async () => {
  await build(['promtool'], (line) => process.stderr.write(`promtool: ${line}\n`));
}, 1_800_000);

describe('what is named', () => {
  const exported = allSeriesNames();

  it('by a panel is exported by the code, and was there in a real run', () => {
    const named = panels.map(({ expr }) => namesIn(expr));
    expect(named.filter((names) => names.length === 0)).toEqual([]);
    expect(new Set(named.flat().filter((name) => !exported.has(name)))).toEqual(new Set());
    expect(new Set(named.flat().filter((name) => !recordedNames.has(name)))).toEqual(new Set());
  });

  it('by an alert is exported by the code, and was there in a real run', () => {
    const named = alerts.map(({ expr }) => namesIn(expr));
    expect(named.filter((names) => names.length === 0)).toEqual([]);
    expect(new Set(named.flat().filter((name) => !exported.has(name)))).toEqual(new Set());
    expect(new Set(named.flat().filter((name) => !recordedNames.has(name)))).toEqual(new Set());
  });

  it('of jobs and services is told by one operator of two', () => {
    const tellers = (prefix: string) =>
      new Set(recorded.series.filter(({ name }) => name.startsWith(prefix)).map(({ labels }) => labels['instance'])).size;
    expect(tellers('leader_election_')).toBe(2);
    expect(tellers('windlass_trainingjob_state')).toBe(1);
    expect(tellers('windlass_inferenceservice_ready')).toBe(1);
  });

  it('in a recording is exported by the code', () => {
    const foreign = [...recordedNames].filter((name) => !exported.has(name) && name !== 'up' && !/^(nodejs|process)_/.test(name));
    expect(foreign).toEqual([]);
  });
});

describe.each(dashboards.map(({ name }) => name))('the dashboard %s', (dashboard) => {
  it('shows something in every panel', { timeout: 300_000 }, async () => {
    const own = panels.filter((panel) => panel.dashboard === dashboard);
    expect(own.length).toBeGreaterThan(15);
    const tests = own.map(({ expr }) => ({
      // At some moment of the run, not at its end: a job that has ended has no speed. Every second reading: promtool's tests hold 50,000 samples.
      expr: `count_over_time((count(${chosen(expr)}))[${recordedSeconds}s:10s]) > bool 0`,
      at: recordedSeconds,
      gives: 1,
    }));
    await testExpressions(recorded, tests);
  });

  it('is what Grafana takes: unique numbers, no panel over another, a data source to choose', () => {
    const json = JSON.parse(readFileSync(join(root, `charts/windlass/files/dashboards/${dashboard}.json`), 'utf8')) as {
      panels: { id: number; gridPos: { x: number; y: number; w: number; h: number }; datasource?: { uid: string } }[];
    };
    const cells = json.panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, cell) => `${x + (cell % w)},${y + Math.floor(cell / w)}`),
    );
    expect(new Set(cells).size).toBe(cells.length);
    expect(Math.max(...json.panels.map(({ gridPos: { x, w } }) => x + w))).toBe(24);
    expect(new Set(json.panels.map(({ id }) => id)).size).toBe(json.panels.length);
    expect(new Set(json.panels.map(({ datasource }) => datasource?.uid))).toEqual(new Set([undefined, '${datasource}']));
  });
});

describe('the alerts', () => {
  /** Alerts that fire and have the labels that their words mention. */
  const firing = ({ name, summary, description }: (typeof alerts)[number]) => {
    const mentioned = [...`${summary} ${description}`.matchAll(/\$labels\.(\w+)/g)].map(([, label]) => `${label}!=""`);
    return `count(ALERTS{${[`alertname="${name}"`, 'alertstate="firing"', ...new Set(mentioned)].join(',')}})`;
  };
  /** Longer than any alert waits. */
  const faultSeconds = 45 * 60;

  it('are rules that promtool takes', async () => {
    expect(await capture(binaryOf('promtool'), ['check', 'rules', '--lint=all', '--lint-fatal', rules])).toContain(
      `${alerts.length} rules found`,
    );
  });

  it('have series without the Prometheus operator too, by scrape jobs that promtool takes', async () => {
    const jobs = join(root, 'charts/windlass/files/scrape.yaml');
    expect(await capture(binaryOf('promtool'), ['check', 'config', jobs])).toContain('is valid prometheus config file syntax');
  });

  it('are silent on an hour like the recorded minutes', { timeout: 300_000 }, async () => {
    const seconds = 3600;
    const names = new Set(alerts.flatMap(({ expr }) => namesIn(expr)));
    const tests = alerts.map(({ name }) => ({
      expr: `count_over_time(ALERTS{alertname="${name}",alertstate="firing"}[${seconds}s])`,
      at: seconds,
      gives: 'nothing' as const,
    }));
    await testExpressions(only(lasting(recorded, seconds), names), tests);
  });

  it.each(faults)('$alert fires when $what', { timeout: 300_000 }, async ({ alert, from, changes }) => {
    const rule = alerts.find(({ name }) => name === alert)!;
    const start = recordedSeconds + recorded.intervalSeconds + momentOf(recorded, from);
    const names = new Set(namesIn(rule.expr));
    const series = faulty(only(lasting(recorded, start + faultSeconds), names), start, changes);
    await testExpressions(series, [
      { expr: firing(rule), at: start, gives: 'nothing' },
      { expr: `${firing(rule)} > bool 0`, at: start + faultSeconds, gives: 1 },
    ]);
  });

  it('have a fault each that they were seen to tell', () => {
    expect(new Set(faults.map(({ alert }) => alert))).toEqual(new Set(alerts.map(({ name }) => name)));
  });

  it('have a page each that says what to do, and no page is without an alert', () => {
    const pages = globSync('docs/runbooks/*.md', { cwd: root })
      .map((path) => path.slice('docs/runbooks/'.length, -'.md'.length))
      .filter((name) => name !== 'README');
    expect(pages.toSorted()).toEqual(alerts.map(({ name }) => name).toSorted());
    const index = readFileSync(join(root, 'docs/runbooks/README.md'), 'utf8');
    for (const name of pages) {
      const page = readFileSync(join(root, `docs/runbooks/${name}.md`), 'utf8');
      const headings = [...page.matchAll(/^#+ .*$/gm)].map(([heading]) => heading);
      expect(headings, name).toEqual([`# ${name}`, '## Meaning', '## Impact', '## Diagnosis', '## Mitigation']);
      expect(page, name).toContain('```sh\n');
      expect(index).toContain(`[${name}](${name}.md)`);
    }
  });

  it('carry a severity, words for people, and a link to their page', () => {
    const { groups } = parse(readFileSync(rules, 'utf8')) as {
      groups: { rules: { alert: string; labels: object; annotations: object }[] }[];
    };
    for (const { alert, labels, annotations } of groups.flatMap((group) => group.rules)) {
      expect(labels).toEqual({ severity: expect.stringMatching(/^(critical|warning)$/) });
      expect(annotations).toEqual({
        summary: expect.stringMatching(/^[A-Z]/),
        description: expect.stringMatching(/\.$/),
        runbook_url: expect.stringMatching(new RegExp(`^https://.*/${alert}\\.md$`)),
      });
    }
  });
});

/** Seconds after which the recording shows a series with this value for the first time, and a little later. */
function momentOf(
  { intervalSeconds, series }: Recording,
  { name, labels = {}, above = 0 }: { name: string; labels?: Record<string, string>; above?: number },
): number {
  const matching = series.filter(
    (one) => one.name === name && Object.entries(labels).every(([label, value]) => one.labels[label] === value),
  );
  const first = Math.min(
    ...matching
      .map(({ values }) => values.findIndex((value) => value !== undefined && value > above))
      .filter((index) => index >= 0),
  );
  if (!Number.isFinite(first)) throw new Error(`the recording has no ${name} above ${above}`);
  return (first + 2) * intervalSeconds;
}
