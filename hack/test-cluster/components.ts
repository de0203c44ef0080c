// What the test cluster is made of: which Go module each program comes from, in which version, and where its binary is kept.
import { createHash } from 'node:crypto';
import { globSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

/** The version that the API server and all clients report. */
export const kubernetesVersion = '1.37.2';

/** The staging modules of Kubernetes carry the same version with another first number. */
export const stagingVersion = kubernetesVersion.replace(/^1\./, '0.');

interface Component {
  readonly module: string;
  readonly version: string;
  readonly package: string;
  readonly tags?: string;
  /** Where the program's source is, from the root of the repository, if it is ours. */
  readonly folder?: string;
}

const kubernetes = (name: string): Component => ({
  module: 'k8s.io/kubernetes',
  version: `v${kubernetesVersion}`,
  package: `k8s.io/kubernetes/cmd/${name}`,
});

/** Built one after the other in this order: what the smallest cluster waits for comes first. */
export const components = {
  etcd: { module: 'go.etcd.io/etcd/server/v3', version: 'v3.7.3', package: 'go.etcd.io/etcd/server/v3' },
  'kube-apiserver': kubernetes('kube-apiserver'),
  kubectl: kubernetes('kubectl'),
  'kube-controller-manager': kubernetes('kube-controller-manager'),
  'kube-scheduler': kubernetes('kube-scheduler'),
  kubelet: kubernetes('kubelet'),
  'kube-proxy': kubernetes('kube-proxy'),
  'nats-server': {
    module: 'github.com/nats-io/nats-server/v2',
    version: 'v2.15.2',
    package: 'github.com/nats-io/nats-server/v2',
  },
  coredns: { module: 'github.com/coredns/coredns', version: 'v1.15.0', package: 'github.com/coredns/coredns' },
  helm: { module: 'helm.sh/helm/v4', version: 'v4.3.1', package: 'helm.sh/helm/v4/cmd/helm' },
  promtool: {
    module: 'github.com/prometheus/prometheus',
    version: 'v0.316.0',
    package: 'github.com/prometheus/prometheus/cmd/promtool',
    // Without the clients of two dozen clouds.
    tags: 'remove_all_sd',
  },
  gitops: { module: 'windlass.dev/gitops', version: 'v1', package: '.', folder: 'hack/gitops' },
} as const satisfies Record<string, Component>;

export type ComponentName = keyof typeof components;

const api = ['etcd', 'kube-apiserver', 'kubectl'] as const;
const control = ['kube-controller-manager', 'kube-scheduler'] as const;
const tools = ['nats-server', 'helm'] as const;
/** What says whether others understand us: the languages of Prometheus, of kstatus and of Argo CD. */
const judges = ['gitops', 'promtool'] as const;

/** What each size of a cluster needs; `control` is what `up api --with` adds, `tools` what is installed into a cluster or with, `tests` what `npm test` takes. */
export const groups = {
  api,
  control,
  node: [...api, ...control, 'kubelet', 'kube-proxy', 'coredns'],
  tools,
  judges,
  tests: [...api, ...tools, ...judges],
} as const satisfies Record<string, readonly ComponentName[]>;

export type GroupName = keyof typeof groups;

/** Flags of `go build` that decide what comes out: a change makes other files in the cache. */
export function linkerFlags(component: Component): string {
  if (component.module !== 'k8s.io/kubernetes') return '-s -w';
  const [major = '', minor = ''] = kubernetesVersion.split('.');
  const facts = { gitVersion: `v${kubernetesVersion}`, gitMajor: major, gitMinor: minor, gitTreeState: 'clean' };
  return ['-s -w', ...Object.entries(facts).map(([name, value]) => `-X k8s.io/component-base/version.${name}=${value}`)].join(
    ' ',
  );
}

/** Outside any checkout, so that all checkouts of a machine share what was built once. */
export function cacheFolder(): string {
  return join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'windlass/cluster');
}

/** Where the program lies once it is built. */
export function binaryOf(name: ComponentName): string {
  const component = components[name];
  const recipe = createHash('sha256')
    .update(JSON.stringify([component, linkerFlags(component), ...sourceOf(component)]))
    .digest('hex')
    .slice(0, 8);
  return join(cacheFolder(), `${name}-${component.version}-${recipe}`, name);
}

/** Files of a program of ours, by name: a change of one makes another binary. */
export function sourceOf({ folder }: Component): { name: string; text: string }[] {
  if (folder === undefined) return [];
  const place = resolve(import.meta.dirname, '../..', folder);
  const names = globSync(['*.go', 'go.mod', 'go.sum'], { cwd: place }).toSorted();
  return names.map((name) => ({ name, text: readFileSync(join(place, name), 'utf8') }));
}
