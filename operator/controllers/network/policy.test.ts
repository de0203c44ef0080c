// Whom pods may speak to: the shape of the policies, and that each object has its own, as it should be, for as long as it lives.
import { setImmediate } from 'node:timers/promises';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { InferenceService, ModelVersion, TrainingJob } from '#crds/v1alpha1/index.ts';
import type { Effective } from '#crds/v1alpha1/index.ts';
import { Manager } from '#operator/framework/manager.ts';
import { ManualClock } from '#operator/kube/clock.ts';
import { NetworkPolicy } from '#operator/kube/core.ts';
import { MemoryKube } from '#operator/kube/memory-kube.ts';
import { inferenceService, trainingJob } from '../fixtures.ts';
import { guardedKube } from '../guarded-kube.ts';
import { jobPolicy, servicePolicy, webPorts } from './policy.ts';
import type { NetworkSettings } from './policy.ts';
import { addNetworkControllers } from './reconcile.ts';

const settings: NetworkSettings = { namespace: 'windlass-system', ownPorts: [4222, 8443], otherPorts: [] };
const job = (spec: object = {}): TrainingJob => {
  const made = trainingJob('moby', spec);
  return { ...made, metadata: { ...made.metadata, uid: 'job-1' } };
};

describe('the policy of a job', () => {
  it('lets its pods hear each other, and reach each other, names, the bus and the operator', () => {
    expect(jobPolicy(job(), settings)).toMatchInlineSnapshot(`
      {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
          "labels": {
            "app.kubernetes.io/managed-by": "windlass",
            "windlass.dev/job": "moby",
          },
          "name": "moby-job",
          "namespace": "default",
          "ownerReferences": [
            {
              "apiVersion": "windlass.dev/v1alpha1",
              "blockOwnerDeletion": true,
              "controller": true,
              "kind": "TrainingJob",
              "name": "moby",
              "uid": "job-1",
            },
          ],
        },
        "spec": {
          "egress": [
            {
              "to": [
                {
                  "podSelector": {
                    "matchLabels": {
                      "windlass.dev/job-uid": "job-1",
                    },
                  },
                },
              ],
            },
            {
              "ports": [
                {
                  "port": 53,
                  "protocol": "UDP",
                },
                {
                  "port": 53,
                  "protocol": "TCP",
                },
              ],
            },
            {
              "ports": [
                {
                  "port": 4222,
                  "protocol": "TCP",
                },
                {
                  "port": 8443,
                  "protocol": "TCP",
                },
              ],
              "to": [
                {
                  "namespaceSelector": {
                    "matchLabels": {
                      "kubernetes.io/metadata.name": "windlass-system",
                    },
                  },
                },
              ],
            },
          ],
          "ingress": [
            {
              "from": [
                {
                  "podSelector": {
                    "matchLabels": {
                      "windlass.dev/job-uid": "job-1",
                    },
                  },
                },
              ],
            },
          ],
          "podSelector": {
            "matchLabels": {
              "windlass.dev/job-uid": "job-1",
            },
          },
          "policyTypes": [
            "Ingress",
            "Egress",
          ],
        },
      }
    `);
  });

  it('lets them reach the web only if something of the job is there, and never the machine that tells credentials of clouds', () => {
    const data = { ...job().spec.data, uri: 'https://data.example:8443/text.txt' };
    const { egress } = jobPolicy({ ...job(), spec: { ...job().spec, data } }, settings).spec;
    expect(egress.at(-1)).toEqual({
      to: [
        { ipBlock: { cidr: '0.0.0.0/0', except: ['169.254.0.0/16'] } },
        { ipBlock: { cidr: '::/0', except: ['fd00:ec2::254/128', 'fe80::/10'] } },
      ],
      ports: [
        { protocol: 'TCP', port: 443 },
        { protocol: 'TCP', port: 8443 },
      ],
    });
    expect(egress).toHaveLength(jobPolicy(job(), settings).spec.egress.length + 1);
  });

  it('lets them reach the proxy that the runtime names, once there is something to fetch', () => {
    const effective = { image: 'i', env: [{ name: 'https_proxy', value: 'http://proxy.example:3128' }] } as unknown as Effective;
    const through = { ...job(), status: { effective } };
    expect(jobPolicy(through, settings).spec.egress).toHaveLength(jobPolicy(job(), settings).spec.egress.length);
    const data = { ...job().spec.data, uri: 'https://data.example/text.txt' };
    const { egress } = jobPolicy({ ...through, spec: { ...job().spec, data } }, settings).spec;
    expect(egress.at(-1)?.ports?.map(({ port }) => port)).toEqual([443, 3128]);
  });

  it('lets them reach a bus of your own wherever it is', () => {
    const { egress } = jobPolicy(job(), { namespace: 'windlass-system', ownPorts: [8443], otherPorts: [4333] }).spec;
    expect(egress).toContainEqual({ ports: [{ protocol: 'TCP', port: 4333 }] });
  });
});

it('the policy of a service lets anybody ask at its one port, and its pods reach nothing but names', () => {
  const service = inferenceService('moby');
  expect(servicePolicy({ ...service, metadata: { ...service.metadata, uid: 'service-1' } }, []).spec).toMatchInlineSnapshot(`
    {
      "egress": [
        {
          "ports": [
            {
              "port": 53,
              "protocol": "UDP",
            },
            {
              "port": 53,
              "protocol": "TCP",
            },
          ],
        },
      ],
      "ingress": [
        {
          "ports": [
            {
              "port": "http",
              "protocol": "TCP",
            },
          ],
        },
      ],
      "podSelector": {
        "matchLabels": {
          "windlass.dev/service": "moby",
        },
      },
      "policyTypes": [
        "Ingress",
        "Egress",
      ],
    }
  `);
});

it.each<[string, unknown, number[]]>([
  ['nothing of the web', { data: { uri: 'pvc://claim/http://x' }, model: { uri: 'sample://moby-dick' } }, []],
  ['https', { data: { uri: 'https://example.com/a' } }, [443]],
  ['http, which may send on to https', { model: { uri: 'http://example.com/a' } }, [80, 443]],
  ['several in lists, with ports', { sources: [{ uri: 'http://a:8080/x' }, { uri: 'https://b:9443/' }] }, [443, 8080, 9443]],
  ['what is no address', { note: 'https://' }, []],
])('finds the ports of %s', (_, spec, ports) => {
  expect(webPorts(spec)).toEqual(ports);
});

/** Controllers of policies on the API in memory, with the operator's rights. */
async function start(kube: MemoryKube) {
  const manager = new Manager({ client: guardedKube(kube, new Set()), clock: new ManualClock(), log: pino({ level: 'silent' }) });
  addNetworkControllers(manager, settings);
  await manager.start();
  const settle = async () => {
    for (let quiet = 0, version = ''; quiet < 6;) {
      await setImmediate();
      const now = String(kube.snapshot().resourceVersion);
      quiet = manager.idle && now === version ? quiet + 1 : 0;
      version = now;
    }
  };
  await settle();
  return { settle, stop: () => manager.stop() };
}

describe('the controllers of policies', () => {
  it('open the way to the server of a version when one appears that the service serves', async () => {
    const kube = new MemoryKube();
    await kube.create(InferenceService, inferenceService('moby'));
    const { settle, stop } = await start(kube);
    const ports = async () => {
      const { spec } = await kube.get(NetworkPolicy, { namespace: 'default', name: 'moby-serving' });
      return spec.egress.flatMap((rule) => rule.ports?.map(({ port }) => port) ?? []);
    };
    expect(await ports()).toEqual([53, 53]);
    const { example } = ModelVersion.definition as unknown as { example: Pick<ModelVersion, 'spec'> };
    const version = (name: string, model: string, uri: string) => ({
      apiVersion: ModelVersion.apiVersion,
      kind: 'ModelVersion',
      metadata: { name, namespace: 'default' },
      spec: { ...example.spec, metrics: {}, model, uri },
    });
    await kube.create(ModelVersion, version('other-1', 'other', 'https://models.example:9443/other/'));
    await kube.create(ModelVersion, version('moby-1', 'moby', 'https://models.example:8443/moby/'));
    await settle();
    expect(await ports()).toEqual([53, 53, 443, 8443]);
    await stop();
  });

  it('make one for each job and service, put right what somebody changed, and write nothing when all is well', async () => {
    const kube = new MemoryKube();
    await kube.create(TrainingJob, trainingJob('moby'));
    await kube.create(InferenceService, inferenceService('moby'));
    const { settle, stop } = await start(kube);
    const names = async () => (await kube.list(NetworkPolicy)).items.map(({ metadata }) => metadata.name).toSorted();
    expect(await names()).toEqual(['moby-job', 'moby-serving']);
    const key = { namespace: 'default', name: 'moby-job' };
    const made = await kube.get(NetworkPolicy, key);
    await kube.update(NetworkPolicy, { ...made, spec: { ...made.spec, egress: [{}] } });
    await settle();
    expect((await kube.get(NetworkPolicy, key)).spec).toEqual(made.spec);
    await kube.delete(NetworkPolicy, key);
    await settle();
    expect(await names()).toEqual(['moby-job', 'moby-serving']);
    const version = kube.snapshot().resourceVersion;
    await stop();
    const again = await start(kube);
    expect(kube.snapshot().resourceVersion).toBe(version);
    await kube.delete(TrainingJob, { namespace: 'default', name: 'moby' });
    await again.settle();
    expect(await names()).toEqual(['moby-serving']);
    await again.stop();
  });

  it('leave a policy of the same name alone that belongs to somebody else', async () => {
    const kube = new MemoryKube();
    const theirs = jobPolicy(job(), { ownPorts: [], otherPorts: [] });
    const { ownerReferences: _, ...metadata } = theirs.metadata;
    const before = await kube.create(NetworkPolicy, { ...theirs, metadata });
    await kube.create(TrainingJob, trainingJob('moby'));
    const { stop } = await start(kube);
    expect(await kube.get(NetworkPolicy, { namespace: 'default', name: 'moby-job' })).toEqual(before);
    await stop();
  });
});
