// Pods and other children that somebody takes away: evictions, drains, lost nodes, deletions.
import { TrainingJob } from '#crds/v1alpha1/index.ts';
import { Pod, Service } from '#operator/kube/core.ts';
import { twoRanks } from '../failure-stage.ts';
import type { Stage } from '../failure-stage.ts';
import { dies, goesOn, restarted, started } from './case.ts';
import type { Case } from './case.ts';

const deletePod = (stage: Stage, rank = 0) =>
  stage.client.delete(Pod, { namespace: stage.namespace, name: `moby-worker-${rank}` });

export const taken: readonly Case[] = [
  {
    name: 'a pod that the kubelet evicts starts again free of charge',
    script: dies(0, { exitCode: 137, evicted: 'The node was low on resource: memory.' }),
    trail: restarted,
    ends: goesOn,
    says: /all ranks run/,
    failure: {
      reason: 'Evicted',
      rule: 'Disruption',
      charged: false,
      message: 'The node was low on resource: memory.',
      remedy: 'Nothing if it passes; else request what the pods use in podTemplate.resources.',
    },
    status: { restarts: 0 },
  },
  {
    name: 'a node that is drained gives its pod back',
    script: async (stage) => {
      await stage.running();
      const eviction = { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name: 'moby-worker-0' } };
      await stage.takeAway(() => stage.ask('POST', '/api/v1/namespaces/NAMESPACE/pods/moby-worker-0/eviction', eviction));
    },
    trail: restarted,
    ends: goesOn,
    says: /all ranks run/,
    failure: { reason: 'Drained', rule: 'Disruption', charged: false, pod: 'moby-worker-0', node: 'node-1' },
    status: { restarts: 0 },
  },
  {
    name: 'a pod that makes room for one of higher priority comes again when there is room',
    script: async (stage) => {
      await stage.running();
      await stage.takeAway(async () => {
        await stage.patchPod(0, {
          conditions: [
            {
              type: 'DisruptionTarget',
              status: 'True',
              reason: 'PreemptionByScheduler',
              message: 'default-scheduler: preempting to accommodate a higher priority pod',
            },
          ],
        });
        await deletePod(stage);
      });
    },
    trail: restarted,
    ends: goesOn,
    says: /all ranks run/,
    failure: {
      reason: 'Preempted',
      charged: false,
      message: 'default-scheduler: preempting to accommodate a higher priority pod',
    },
  },
  {
    name: 'a pod that somebody deletes is made again free of charge',
    spec: twoRanks,
    script: async (stage) => {
      await stage.running();
      await stage.takeAway(() => deletePod(stage, 1));
    },
    trail: restarted,
    ends: goesOn,
    says: /all ranks run/,
    failure: {
      reason: 'PodDeleted',
      pod: 'moby-worker-1',
      rank: 1,
      charged: false,
      remedy: 'Nothing: it is made again. To stop the job, set spec.suspend or delete the job.',
    },
    status: { restarts: 0, attempt: 0 },
  },
  {
    name: 'a pod of a lost node, which nobody ends, is removed by force and replaced',
    spec: twoRanks,
    script: async (stage) => {
      await stage.running();
      const { uid } = (await stage.pod(1)).metadata;
      stage.hinder((pod) => ({ staysForever: pod.metadata.uid === uid }));
      await stage.patchPod(1, {
        conditions: [
          {
            type: 'DisruptionTarget',
            status: 'True',
            reason: 'DeletionByTaintManager',
            message: 'Taint manager: deleting due to NoExecute taint',
          },
        ],
      });
      await stage.client.delete(Pod, { namespace: stage.namespace, name: 'moby-worker-1' }, { gracePeriodSeconds: 1 });
    },
    trail: restarted,
    ends: goesOn,
    says: /all ranks run/,
    failure: {
      reason: 'NodeLost',
      rank: 1,
      node: 'node-1',
      rule: 'Disruption',
      action: 'RestartPod',
      charged: false,
      remedy: 'Nothing: the pod comes up on another node. Look at the node named.',
    },
    status: { restarts: 0, attempt: 0 },
    also: async ({ kubelet }) => [kubelet.seen.toSorted(), ['moby-worker-0 0', 'moby-worker-1 0', 'moby-worker-1 0']],
  },
  {
    name: 'a job that is suspended while a pod does not end goes on all the same',
    script: async (stage) => {
      await stage.running();
      const { uid } = (await stage.pod(0)).metadata;
      stage.hinder((pod) => ({ staysForever: pod.metadata.uid === uid }));
      const key = { namespace: stage.namespace, name: 'moby' };
      await stage.client.patch(TrainingJob, key, { spec: { suspend: true } });
      await stage.until(({ state }) => state === 'Suspended');
      await stage.client.delete(Pod, { ...key, name: 'moby-worker-0' }, { gracePeriodSeconds: 1 });
      await stage.client.patch(TrainingJob, key, { spec: { suspend: false } });
    },
    trail: [...started, 'Suspended', 'Starting', 'Running'],
    ends: { ...goesOn, Suspended: 'False Resumed' },
    says: /all ranks run/,
    also: async ({ kubelet }) => [kubelet.seen.length, 2],
  },
  {
    name: 'a Service that somebody deletes is made again, and nothing restarts',
    spec: twoRanks,
    script: async (stage) => {
      await stage.running();
      const key = { namespace: stage.namespace, name: 'moby-workers' };
      const { uid } = (await stage.client.get(Service, key)).metadata;
      await stage.client.delete(Service, key);
      await stage.untilService((service) => service.metadata.uid !== uid);
    },
    trail: started,
    ends: goesOn,
    says: /all ranks run/,
    status: { restarts: 0 },
  },
];
