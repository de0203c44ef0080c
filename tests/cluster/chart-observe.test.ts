// What the chart brings for those who watch: monitors, dashboards and alerts, each only when asked for.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { parse } from 'yaml';
import { effectiveOf } from '#operator/controllers/effective.ts';
import { inferenceService } from '#operator/controllers/fixtures.ts';
import { servingPod } from '#operator/controllers/inference-service/pods.ts';
import { runbooks } from '../../hack/observe/alerts.ts';
import { chart, objectsIn, template } from './helm.ts';
import type { Rendered } from './helm.ts';

let home: string;

beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), 'wl-chart-'));
});

afterAll(() => rmSync(home, { recursive: true, force: true }));

const render = async (...values: string[]): Promise<Rendered[]> =>
  objectsIn(await template(home, ...values.flatMap((value) => ['--set', value])));
const one = (objects: readonly Rendered[], kind: string, name: string) => {
  const found = objects.find((object) => object.kind === kind && object.metadata.name === name);
  if (!found) throw new Error(`there is no ${kind} ${name}`);
  return found;
};

it('three dashboards for the sidecar of Grafana, as the files are', async () => {
  const objects = await render(
    'dashboards.enabled=true',
    'dashboards.namespace=grafana',
    'dashboards.annotations.folder=Windlass',
  );
  for (const name of ['operator', 'training', 'serving']) {
    const { metadata, data } = one(objects, 'ConfigMap', `windlass-dashboard-${name}`) as Rendered & {
      data: Record<string, string>;
    };
    expect(metadata).toMatchObject({
      namespace: 'grafana',
      labels: { grafana_dashboard: '1' },
      annotations: { folder: 'Windlass' },
    });
    const file = readFileSync(join(chart, `files/dashboards/${name}.json`), 'utf8');
    expect(JSON.parse(data[`windlass-${name}.json`] ?? '')).toEqual(JSON.parse(file));
  }
  expect((await render()).filter(({ kind }) => kind === 'ConfigMap')).toEqual([]);
});

it('the alerts as the file has them, with links to where the pages are', async () => {
  const objects = await render(
    'alerts.enabled=true',
    'alerts.runbooks=https://wiki.example/runbooks',
    'alerts.labels.release=prometheus',
  );
  const { spec, metadata } = one(objects, 'PrometheusRule', 'windlass');
  const file = readFileSync(join(chart, 'files/alerts.yaml'), 'utf8');
  expect(file).toContain(`${runbooks}/WindlassNoLeader.md`);
  expect(spec).toEqual(parse(file.replaceAll(runbooks, 'https://wiki.example/runbooks')));
  expect(metadata.labels).toMatchObject({ release: 'prometheus' });
});

it('monitors that find operator and engines, and leave the namespaces of jobs alone', async () => {
  const objects = await render('metrics.serviceMonitor.enabled=true', 'metrics.podMonitor.enabled=true');
  expect(one(objects, 'ServiceMonitor', 'windlass').spec).toMatchObject({ endpoints: [{ port: 'metrics', honorLabels: true }] });
  const { spec } = one(objects, 'PodMonitor', 'windlass-engines') as {
    spec: { selector: { matchExpressions: { key: string }[] } };
  };
  const effective = effectiveOf(undefined, { image: 'windlass:1' });
  const target = { id: 'm', folder: '/m', claimName: undefined, digest: undefined, servedName: 'm' };
  const pod = servingPod(inferenceService('moby'), effective, target, 'abc', 0);
  expect(spec).toMatchObject({
    namespaceSelector: { any: true },
    podMetricsEndpoints: [{ port: pod.spec.containers[0]!.ports![0]!.name }],
  });
  for (const { key } of spec.selector.matchExpressions) expect(pod.metadata.labels).toHaveProperty([key], 'moby');
  const few = await render('metrics.podMonitor.enabled=true', 'watchNamespaces={a,b}');
  expect(one(few, 'PodMonitor', 'windlass-engines').spec).toMatchObject({ namespaceSelector: { matchNames: ['a', 'b'] } });
});
