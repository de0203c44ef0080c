// The chart: what Helm makes of it, what it refuses, and that a real API server takes it.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { parse } from 'yaml';
import { resources } from '#crds/v1alpha1/index.ts';
import { access } from '#operator/controllers/access.ts';
import { build } from '../../hack/test-cluster/build.ts';
import { capture } from '../../hack/test-cluster/command.ts';
import { binaryOf } from '../../hack/test-cluster/components.ts';
import { chart, helm, objectsIn, template } from './helm.ts';
import type { Rendered, Rule } from './helm.ts';

const root = resolve(import.meta.dirname, '../..');
const release = `windlass-${randomUUID().slice(0, 8)}`;
let home: string;

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), 'wl-helm-'));
  await build(['helm', 'kubectl'], (line) => process.stderr.write(`cluster: ${line}\n`));
}, 1_800_000);

afterAll(async () => {
  rmSync(home, { recursive: true, force: true });
});

const render = async (...flags: string[]): Promise<Rendered[]> => objectsIn(await template(home, ...flags));
const named = (objects: readonly Rendered[]): string[] =>
  objects.map(({ kind, metadata }) => `${kind}/${metadata.name}`).toSorted();
const crdNames = resources.map(({ plural, group }) => `CustomResourceDefinition/${plural}.${group}`);

function kubectl(...args: string[]): Promise<string> {
  return capture(binaryOf('kubectl'), ['--kubeconfig', inject('cluster').kubeconfig, ...args]);
}

describe('what Helm makes of the chart', () => {
  it('nothing that helm lint complains about', async () => {
    expect(await helm(home, 'lint', '--strict', chart)).toContain('0 chart(s) failed');
  });

  it('has the version of the program', () => {
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
    expect(parse(readFileSync(join(chart, 'Chart.yaml'), 'utf8'))).toMatchObject({ version, appVersion: version });
  });

  it('with default values: one operator, its bus, its rights, and the CRDs', async () => {
    const objects = await render();
    expect(named(objects)).toEqual(
      [
        ...crdNames,
        'ClusterRole/windlass',
        'ClusterRole/windlass-edit',
        'ClusterRole/windlass-view',
        'ClusterRoleBinding/windlass',
        'Deployment/windlass',
        'Deployment/windlass-bus',
        'FlowSchema/windlass-lease',
        'NetworkPolicy/windlass',
        'NetworkPolicy/windlass-bus',
        'Pod/windlass-test',
        'PriorityLevelConfiguration/windlass-lease',
        'Role/windlass-lease',
        'RoleBinding/windlass-lease',
        'Service/windlass-bus',
        'Service/windlass-credentials',
        'Service/windlass-metrics',
        'ServiceAccount/windlass',
        'ServiceAccount/windlass-test',
      ].toSorted(),
    );
  });

  it('two operators get a budget for disruptions; one would only block drains', async () => {
    expect(named(await render('--set', 'replicas=2'))).toContain('PodDisruptionBudget/windlass');
    expect(named(await render())).not.toContain('PodDisruptionBudget/windlass');
  });

  it('everything optional can be left out', async () => {
    const off = [
      'crds.enabled',
      'leaseFlow.enabled',
      'nats.enabled',
      'networkPolicy.enabled',
      'networkPolicy.workloads',
      'rbac.create',
      'rbac.userRoles',
      'tls.enabled',
      'serviceAccount.create',
    ];
    const objects = await render(...off.flatMap((value) => ['--set', `${value}=false`]));
    expect(named(objects)).toEqual([
      'Deployment/windlass',
      'Pod/windlass-test',
      'Service/windlass-metrics',
      'ServiceAccount/windlass-test',
    ]);
    expect(argsOf(objects).filter((arg) => arg.startsWith('--bus'))).toEqual([]);
  });

  it('a bus of your own takes the place of the bundled one', async () => {
    const objects = await render('--set', 'bus.url=nats://bus.example:4333');
    expect(argsOf(objects)).toContain('--bus=nats://bus.example:4333');
    expect(named(objects).filter((name) => name.endsWith('-bus'))).toEqual([]);
  });

  it('a bus of your own at tls:// is vouched for by a Secret of yours', async () => {
    const objects = await render('--set', 'bus.url=tls://bus.example:4222,bus.secret=my-bus');
    expect(argsOf(objects)).toContain('--bus=tls://bus.example:4222');
    expect(argsOf(objects)).toContain('--bus-ca=/etc/windlass/bus/ca.crt');
    expect(argsOf(objects)).not.toContain('--own-bus');
    const operator = objects.find((object) => named([object])[0] === 'Deployment/windlass');
    expect(JSON.stringify(operator?.spec)).toContain('"secretName":"my-bus"');
  });

  it('operator, bus and pods of jobs prove themselves to each other, unless that is turned off', async () => {
    const on = argsOf(await render());
    expect(on).toContain('--bus=tls://windlass-bus.windlass-system.svc:4222');
    expect(on).toContain('--own-bus');
    expect(on).toContain('--credentials-url=https://windlass-credentials.windlass-system.svc:8443');
    const off = argsOf(await render('--set', 'tls.enabled=false'));
    expect(off).toContain('--bus=nats://windlass-bus.windlass-system.svc:4222');
    expect(off.filter((arg) => /credentials|own-bus|lifetime/.test(arg))).toEqual([]);
  });

  it('a ServiceMonitor only when asked for', async () => {
    expect(named(await render('--set', 'metrics.serviceMonitor.enabled=true'))).toContain('ServiceMonitor/windlass');
  });

  it('the operator gives pods its own image, by digest where it has one', async () => {
    const digest = `sha256:${'a'.repeat(64)}`;
    expect(argsOf(await render())).toContain('--image=windlass.dev/windlass:0.1.0');
    expect(argsOf(await render('--set', `image.digest=${digest}`))).toContain(`--image=windlass.dev/windlass@${digest}`);
  });
});

describe('the CRDs of the chart', () => {
  const ofChart = (objects: readonly Rendered[]) => objects.filter(({ kind }) => kind === 'CustomResourceDefinition');

  it('are those of crds/, and stay when the chart goes', async () => {
    for (const { spec, metadata } of ofChart(await render())) {
      const [plural, ...group] = metadata.name.split('.');
      const file = `crds/${group.join('.')}_${plural}.yaml`;
      expect(spec).toEqual((parse(readFileSync(join(root, file), 'utf8')) as Rendered).spec);
      expect(metadata.annotations).toEqual({ 'helm.sh/resource-policy': 'keep' });
    }
  });

  it('go with the chart when that is asked for', async () => {
    const crds = ofChart(await render('--set', 'crds.keep=false'));
    expect(crds.map(({ metadata }) => metadata.annotations)).toEqual(crds.map(() => undefined));
    expect(crds).toHaveLength(resources.length);
  });
});

describe('the rights that the chart gives', () => {
  const rulesOf = (objects: readonly Rendered[], name: string) => objects.find((object) => named([object])[0] === name)?.rules;
  const of = (where: string): Rule[] =>
    access
      .filter((line) => line.where === where)
      .map(({ type, subresource, names, verbs }) => ({
        apiGroups: [type.group],
        resources: [[type.plural, subresource].filter(Boolean).join('/')],
        ...(names ? { resourceNames: names } : {}),
        verbs,
      }));

  it('are those of the table, over all namespaces', async () => {
    const objects = await render();
    expect(rulesOf(objects, 'ClusterRole/windlass')).toEqual([...of('cluster'), ...of('watched')]);
    expect(rulesOf(objects, 'Role/windlass-lease')).toEqual(of('own'));
  });

  it('end at the namespaces that are looked after, where these are named', async () => {
    const objects = await render('--set', 'watchNamespaces={team-a,team-b}');
    expect(rulesOf(objects, 'ClusterRole/windlass')).toEqual(of('cluster'));
    const roles = objects.filter(({ kind, metadata }) => kind === 'Role' && metadata.name === 'windlass');
    expect(roles.map(({ metadata }) => metadata.namespace)).toEqual(['team-a', 'team-b']);
    for (const { rules } of roles) expect(rules).toEqual(of('watched'));
    expect(argsOf(objects).filter((arg) => arg.startsWith('--namespace'))).toEqual(['--namespace=team-a', '--namespace=team-b']);
  });

  it('hold no wildcard in any role', async () => {
    const rules = (await render()).flatMap((object) => object.rules ?? []);
    expect(rules.flatMap(({ apiGroups, resources, verbs }) => [...apiGroups, ...resources, ...verbs])).not.toContain('*');
  });
});

describe('values that are refused', () => {
  it.each([
    ['a name that there is not', 'replica=2', 'replica'],
    ['one inside of a group', 'nats.enable=false', 'enable'],
    ['a word where a number belongs', 'replicas=two', 'replicas'],
    ['a number out of bounds', 'metrics.port=70000', 'metrics'],
    ['a digest that is none', 'image.digest=latest', 'digest'],
    ['a namespace that is none', 'watchNamespaces={Team}', 'watchNamespaces'],
    ['a bus without a port', 'bus.url=nats://bus', 'url'],
  ])('%s', async (_, value, mentioned) => {
    await expect(template(home, '--set', value)).rejects.toThrow(mentioned);
  });

  it('every value has a type and bounds in the schema, and every value of the schema a default', () => {
    const schema = JSON.parse(readFileSync(join(chart, 'values.schema.json'), 'utf8')) as Schema;
    const values: unknown = parse(readFileSync(join(chart, 'values.yaml'), 'utf8'));
    const { global: _, ...properties } = schema.properties ?? {};
    expect(pathsOfSchema({ ...schema, properties }, schema).toSorted()).toEqual(pathsOf(values).toSorted());
  });
});

describe('on a real API server', () => {
  it('plain kubectl apply of the YAML works, and a second time changes nothing', async () => {
    await kubectl('create', 'namespace', 'windlass-system');
    const file = join(home, 'rendered.yaml');
    writeFileSync(file, await template(home, '--set', 'replicas=2', '--no-hooks'));
    /** What a write would change. The API server itself writes to the status of a CRD, at its own time. */
    const versions = async () => {
      const { items } = JSON.parse(await kubectl('get', '-f', file, '-o', 'json')) as { items: Stored[] };
      return items.map(({ kind, metadata: { name, generation, resourceVersion, labels, annotations } }) =>
        kind === 'CustomResourceDefinition' ? { name, generation, labels, annotations } : { name, kind, resourceVersion },
      );
    };
    for (const apply of [['apply'], ['apply', '--server-side', '--force-conflicts']]) {
      await kubectl(...apply, '-f', file);
      const first = await versions();
      expect(first.length).toBeGreaterThan(15);
      await kubectl(...apply, '-f', file);
      expect(await versions()).toEqual(first);
    }
    // Other tests need the CRDs.
    writeFileSync(file, await template(home, '--set', 'replicas=2,crds.enabled=false', '--no-hooks'));
    await kubectl('delete', '-f', file, '--wait=false');
  });

  it('its pods are admitted where Pod Security restricted is enforced', async () => {
    const namespace = `restricted-${randomUUID().slice(0, 8)}`;
    await kubectl('create', 'namespace', namespace);
    await kubectl('label', 'namespace', namespace, 'pod-security.kubernetes.io/enforce=restricted');
    const file = join(home, 'pods.json');
    const pods = podsOf(await render()).map((spec, index) => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: `pod-${index}`, namespace },
      // No controller makes accounts here.
      spec: { ...spec, serviceAccountName: 'default', automountServiceAccountToken: false },
    }));
    expect(pods).toHaveLength(3);
    await kubectl('create', 'serviceaccount', 'default', '--namespace', namespace);
    writeFileSync(file, JSON.stringify({ apiVersion: 'v1', kind: 'List', items: pods }));
    expect(await kubectl('create', '--dry-run=server', '-f', file)).toContain('pod/pod-2 created (server dry run)');
    const [first] = pods;
    const naked = { ...first, spec: { ...first!.spec, securityContext: {} } };
    writeFileSync(file, JSON.stringify(naked));
    await expect(kubectl('create', '--dry-run=server', '-f', file)).rejects.toThrow('violates PodSecurity');
  });

  it('helm installs it, upgrades it, and takes away all but the CRDs', async () => {
    const flags = ['--kubeconfig', inject('cluster').kubeconfig, '--namespace', release];
    const values = ['--set', `fullnameOverride=${release}`];
    // Without a node no pod gets ready, so nothing is waited for.
    const over = ['--take-ownership', '--force-conflicts'];
    const said = await helm(
      home,
      'install',
      release,
      chart,
      ...flags,
      ...values,
      ...over,
      '--create-namespace',
      '--wait=hookOnly',
    );
    expect(said).toContain(`helm test ${release} --namespace ${release}`);
    expect(await kubectl('get', 'deployments', '--namespace', release, '-o', 'name')).toBe(
      `deployment.apps/${release}\ndeployment.apps/${release}-bus\n`,
    );
    await helm(home, 'upgrade', release, chart, ...flags, ...values, '--set', 'replicas=2', '--wait=hookOnly');
    const replicas = ['get', 'deployment', release, '--namespace', release, '-o', 'jsonpath={.spec.replicas}'];
    expect(await kubectl(...replicas)).toBe('2');
    await helm(home, 'uninstall', release, ...flags, '--wait=hookOnly');
    expect(await kubectl('get', 'deployments,services,roles,networkpolicies', '--namespace', release, '-o', 'name')).toBe('');
    expect(await kubectl('get', 'clusterroles', '-o', 'name')).not.toContain(release);
    const crds = await kubectl('get', 'crds', '-o', 'name');
    for (const { plural, group } of resources) expect(crds).toContain(`${plural}.${group}`);
  });
});

interface Stored {
  readonly kind: string;
  readonly metadata: Rendered['metadata'] & { readonly generation?: number; readonly resourceVersion: string };
}

interface PodSpec {
  readonly serviceAccountName?: string;
  readonly securityContext: object;
  readonly containers: readonly { readonly args: readonly string[] }[];
}

function podsOf(objects: readonly Rendered[]): PodSpec[] {
  return objects.flatMap(({ kind, spec }) => {
    if (kind === 'Pod') return [spec as PodSpec];
    return kind === 'Deployment' ? [(spec as { template: { spec: PodSpec } }).template.spec] : [];
  });
}

/** How the operator is called. */
function argsOf(objects: readonly Rendered[]): readonly string[] {
  const operators = objects.filter(({ kind, metadata }) => kind === 'Deployment' && metadata.name === 'windlass');
  return podsOf(operators)[0]?.containers[0]?.args ?? [];
}

interface Schema {
  readonly $ref?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: unknown;
  readonly definitions?: Readonly<Record<string, Schema>>;
}

/** Paths to what has no fields of its own, or any that users like. */
function pathsOfSchema(schema: Schema, root: Schema, path = ''): string[] {
  const { $ref } = schema;
  if ($ref !== undefined) return pathsOfSchema(root.definitions?.[$ref.replace('#/definitions/', '')] ?? {}, root, path);
  if (schema.properties === undefined) return [path];
  return Object.entries(schema.properties).flatMap(([name, inner]) => pathsOfSchema(inner, root, `${path}.${name}`));
}

/** The same of the values; what users may add to ends a path. */
function pathsOf(value: unknown, path = ''): string[] {
  const open = ['.requests', '.limits', 'abels', 'nnotations', 'odeSelector', 'ffinity'];
  const isLeaf = typeof value !== 'object' || value === null || Array.isArray(value) || open.some((end) => path.endsWith(end));
  if (isLeaf) return [path];
  return Object.entries(value).flatMap(([name, inner]) => pathsOf(inner, `${path}.${name}`));
}
