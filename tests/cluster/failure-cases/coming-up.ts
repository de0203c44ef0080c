// Pods that do not come up: images, settings, room, volumes, time.
import { rankOf, twoRanks } from '../failure-stage.ts';
import { failed, goesOn, mustSay, rules, stalls, waits } from './case.ts';
import type { Case } from './case.ts';

export const comingUp: readonly Case[] = [
  {
    name: 'an image that can not be pulled is waited for, by name',
    before: async (stage) =>
      stage.hinder(() => ({ waiting: { reason: 'ImagePullBackOff', message: 'Back-off pulling image "nowhere/windlass:1"' } })),
    trail: ['Starting'],
    ends: waits('ImagePull'),
    says: /^pod moby-worker-0: ImagePullBackOff: Back-off pulling image "nowhere\/windlass:1"\. Check the image in status\.effective\.image/,
  },
  {
    name: 'an image that can not be pulled fails the job where a rule has no patience',
    spec: rules({ name: 'no-image', reasons: ['ImagePull'], afterSeconds: 0, action: 'Fail' }),
    before: async (stage) => stage.hinder(() => ({ waiting: { reason: 'ErrImagePull', message: 'manifest unknown' } })),
    trail: ['Starting', 'Failed'],
    ends: failed('ImagePull'),
    says: /ErrImagePull: manifest unknown\. Check the image/,
    failure: { reason: 'ImagePull', rule: 'no-image', action: 'Fail', node: 'node-1' },
  },
  {
    name: 'an image whose name is none stalls the job',
    before: async (stage) =>
      stage.hinder(() => ({ waiting: { reason: 'InvalidImageName', message: 'couldn\'t parse image name "No Name"' } })),
    trail: ['Starting'],
    ends: stalls('InvalidImageName'),
    says: /couldn't parse image name "No Name"\. Mend spec\.image of the runtime/,
  },
  {
    name: 'a container that lacks what it refers to stalls the job',
    before: async (stage) =>
      stage.hinder(() => ({ waiting: { reason: 'CreateContainerConfigError', message: 'configmap "settings" not found' } })),
    trail: ['Starting'],
    ends: stalls('ContainerConfigInvalid'),
    says: /configmap "settings" not found\. Create what the message says is missing/,
  },
  {
    name: 'a gang that no node has room for is pending, and starts when there is room',
    spec: twoRanks,
    before: async (stage) =>
      stage.hinder((pod) =>
        rankOf(pod) === 1 ? { unschedulable: '0/4 nodes are available: 4 Insufficient memory.' } : undefined,
      ),
    script: async (stage) => {
      mustSay(await stage.unready('Unschedulable'), /Insufficient memory\. Wait for other pods to end, add nodes/);
      stage.hinder(() => ({ waiting: { reason: 'ContainerCreating', message: '' } }));
      await stage.unready('Starting');
      stage.hinder(undefined);
    },
    trail: ['Starting', 'Pending', 'Starting', 'Running'],
    ends: goesOn,
    says: /all ranks run/,
  },
  {
    name: 'a claim that does not exist stalls the job',
    before: async (stage) =>
      stage.hinder(() => ({ unschedulable: '0/4 nodes are available: persistentvolumeclaim "windlass-jobs" not found.' })),
    trail: ['Starting', 'Pending'],
    ends: stalls('VolumeClaimMissing'),
    says: /persistentvolumeclaim "windlass-jobs" not found\. Create the claim in the namespace of the job/,
  },
  {
    name: 'a deadline ends a job that takes too long',
    spec: { activeDeadlineSeconds: 1 },
    before: async (stage) => stage.hinder(() => ({ waiting: { reason: 'ContainerCreating', message: '' } })),
    trail: ['Starting', 'Failed'],
    ends: failed('DeadlineExceeded'),
    says: /the job ran longer than activeDeadlineSeconds: 1\. Raise it, or give the job fewer steps/,
  },
];
