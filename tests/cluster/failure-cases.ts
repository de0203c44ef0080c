// Scripted failures of a job, as a table: what happens, what the STATE column shows meanwhile, and what the job says in the end.
import { ClusterTrainingRuntime, TrainingJob } from '#crds/v1alpha1/index.ts';
import type { PodFailure } from '#crds/v1alpha1/index.ts';
import { lastWords } from '#operator/controllers/fixtures.ts';
import { Pod, Service } from '#operator/kube/core.ts';
import { ends, rankOf, twoRanks } from './failure-stage.ts';
import type { End, Stage } from './failure-stage.ts';

export interface Case {
  readonly name: string;
  /** Laid over the example job of one rank. */
  readonly spec?: object;
  /** Of the namespace. */
  readonly labels?: Record<string, string>;
  /** Before the job is made. */
  readonly before?: (stage: Stage) => Promise<unknown>;
  /** After it is made. */
  readonly script?: (stage: Stage) => Promise<unknown>;
  /** Values of the STATE column, one after the other. */
  readonly trail: readonly string[];
  /** Conditions in the end: type to `status reason`. */
  readonly ends: Readonly<Record<string, string>>;
  /** What the message of Ready says: the cause, and the remedy. */
  readonly says: RegExp;
  readonly failure?: Partial<PodFailure>;
  /** Of the status in the end. */
  readonly status?: object;
  /** Checks what else must hold. */
  readonly also?: (stage: Stage) => Promise<[found: unknown, wanted: unknown]>;
}

const goesOn = { Ready: 'True Running' };
const failed = (reason: string) => ({ Ready: `False ${reason}`, Failed: `True ${reason}`, Stalled: `True ${reason}` });
const waits = (reason: string) => ({ Ready: `False ${reason}`, Reconciling: `True ${reason}` });
const stalls = (reason: string) => ({ Ready: `False ${reason}`, Stalled: `True ${reason}` });
const started = ['Starting', 'Running'];
const restarted = [...started, 'Restarting', 'Running'];
const gaveUp = [...started, 'Failed'];

const rules = (...given: object[]) => ({ faults: { maxRestarts: 3, rules: given } });
const words = (code: string, message: string, remedy: string) => ({ code, message, remedy, logTail: `step 17\n${message}` });

/** Lets the pods come up, then ends one of them. */
const dies = (rank: number, how: End) => async (stage: Stage) => {
  await stage.running();
  stage.fate(ends(rank, how));
};

const mustSay = (said: string, pattern: RegExp) => {
  if (!pattern.test(said)) throw new Error(`${pattern.source} is not in: ${said}`);
};

const deletePod = (stage: Stage, rank = 0) =>
  stage.client.delete(Pod, { namespace: stage.namespace, name: `moby-worker-${rank}` });
const quotaPath = '/api/v1/namespaces/NAMESPACE/resourcequotas';
const quota = (pods: string) => ({
  apiVersion: 'v1',
  kind: 'ResourceQuota',
  metadata: { name: 'small' },
  spec: { hard: { pods } },
  status: { hard: { pods }, used: { pods: '0' } },
});

export const cases: readonly Case[] = [
  {
    name: 'a container that is killed for its memory starts again, and the limit is named',
    script: dies(0, { exitCode: 137, reason: 'OOMKilled' }),
    trail: restarted,
    ends: goesOn,
    says: /all ranks run/,
    failure: {
      reason: 'OOMKilled',
      exitCode: 137,
      signal: 9,
      node: 'node-1',
      rule: 'Retryable',
      action: 'RestartGang',
      charged: true,
      remedy: 'Raise podTemplate.resources.limits.memory, lower batch.sequences, set recompute: block, or use more ranks.',
    },
    status: { attempt: 1, restarts: 1 },
  },
  {
    name: 'exit code 1 without a word fails the job when no restart is left, with its last log lines',
    spec: { faults: { maxRestarts: 0 } },
    script: dies(0, {
      exitCode: 1,
      words: { rank: 0, message: 'rank 0 ended with code 1 and said nothing', logTail: 'Segmentation\nfault' },
    }),
    trail: gaveUp,
    ends: failed('MaxRestartsReached'),
    says: /^gave up after 0 restarts \(faults\.maxRestarts\): moby-worker-0, rank 0, exit code 1: rank 0 ended with code 1 and said nothing\. See status\.lastFailure for the newest/,
    failure: { exitCode: 1, rule: 'MaxRestarts', action: 'Fail', logTail: 'Segmentation\nfault' },
  },
  {
    name: 'exit code 64, a fault of the user, fails the job at once',
    script: dies(0, { exitCode: 64, words: words('WL_DATA_EMPTY', 'corpus.txt has 3 tokens, 257 needed', 'Add text.') }),
    trail: gaveUp,
    ends: failed('DataEmpty'),
    says: /corpus\.txt has 3 tokens, 257 needed\. Add text\.$/,
    failure: { exitCode: 64, code: 'WL_DATA_EMPTY', rule: 'UserError', action: 'Fail', remedy: 'Add text.' },
    status: { restarts: 0 },
  },
  {
    name: 'exit code 137 of one pod replaces that pod alone',
    spec: twoRanks,
    script: dies(1, { exitCode: 137 }),
    trail: restarted,
    ends: goesOn,
    says: /all ranks run/,
    failure: { rank: 1, pod: 'moby-worker-1', signal: 9, rule: 'Retryable', action: 'RestartPod', charged: true },
    status: { attempt: 0, restarts: 1 },
    also: async ({ kubelet }) => [kubelet.seen.toSorted(), ['moby-worker-0 0', 'moby-worker-1 0', 'moby-worker-1 0']],
  },
  {
    name: 'a lost pod of index 0, which leads the others, is replaced like any other',
    spec: twoRanks,
    script: dies(0, { exitCode: 137 }),
    trail: restarted,
    ends: goesOn,
    says: /all ranks run/,
    failure: { rank: 0, pod: 'moby-worker-0', action: 'RestartPod' },
    also: async ({ kubelet }) => [kubelet.seen.toSorted(), ['moby-worker-0 0', 'moby-worker-0 0', 'moby-worker-1 0']],
  },
  {
    name: 'two pods that die at once count once',
    spec: twoRanks,
    script: async (stage) => {
      await stage.running();
      const before = [await stage.pod(0), await stage.pod(1)].map(({ metadata }) => metadata.uid);
      // No successor comes up before both are gone.
      stage.hinder((pod) => (before.includes(pod.metadata.uid) ? undefined : { unschedulable: 'not yet' }));
      stage.fate((pod) => (before.includes(pod.metadata.uid) ? { exitCode: 137 } : undefined));
      await stage.untilGone(...before);
      stage.hinder(undefined);
    },
    trail: restarted,
    ends: goesOn,
    says: /all ranks run/,
    failure: { signal: 9, charged: true },
    status: { restarts: 1 },
  },
  {
    name: 'SIGTERM from outside (143) starts again and counts',
    script: dies(0, { exitCode: 143 }),
    trail: restarted,
    ends: goesOn,
    says: /all ranks run/,
    failure: { exitCode: 143, signal: 15, rule: 'Retryable', charged: true, message: 'the container was ended by signal 15' },
  },
  {
    name: 'a pod that saved because it was asked to stop (90) starts again free of charge',
    script: dies(0, {
      exitCode: 90,
      words: { rank: 0, message: 'rank 0 was stopped and saved its state', progress: { step: 40, steps: 400 } },
    }),
    trail: restarted,
    ends: goesOn,
    says: /all ranks run/,
    failure: { exitCode: 90, rule: 'Preempted', charged: false, step: 40 },
    status: { restarts: 0, attempt: 1 },
  },
  {
    name: 'a segmentation fault (139) fails the job where a rule says so',
    spec: rules({ name: 'segfault', signals: ['SIGSEGV'], action: 'Fail' }),
    script: dies(0, { exitCode: 139 }),
    trail: gaveUp,
    ends: failed('FailedByRule'),
    says: /signal 11: the container was ended by signal 11\. See the last log lines/,
    failure: { signal: 11, exitCode: 139, rule: 'segfault', action: 'Fail' },
  },
  {
    name: 'NaN in the loss fails the job in the words of the rank',
    script: dies(0, {
      exitCode: 64,
      words: { ...words('WL_LOSS_NOT_FINITE', 'the loss of step 17 is NaN', 'Lower the learning rate.'), step: 17 },
    }),
    trail: gaveUp,
    ends: failed('LossNotFinite'),
    says: /WL_LOSS_NOT_FINITE: the loss of step 17 is NaN\. Lower the learning rate\.$/,
    failure: { code: 'WL_LOSS_NOT_FINITE', step: 17, action: 'Fail' },
  },
  {
    name: 'a damaged checkpoint (82) starts again from the one before',
    script: dies(0, {
      exitCode: 82,
      words: words(
        'WL_CHECKPOINT_CORRUPT',
        'step-00000100/rank-00000.safetensors does not match its checksum',
        'The newest good checkpoint is used.',
      ),
    }),
    trail: restarted,
    ends: goesOn,
    says: /all ranks run/,
    failure: { code: 'WL_CHECKPOINT_CORRUPT', exitCode: 82, rule: 'Retryable', remedy: 'The newest good checkpoint is used.' },
  },
  {
    name: 'a full disk gives up exactly when the budget is used, and tells what to free',
    spec: { faults: { maxRestarts: 1 } },
    script: async (stage) => {
      const full = words('WL_DISK_FULL', 'no room for the checkpoint of step 200', 'Free 3 GiB; the job goes on by itself.');
      await dies(0, { exitCode: 75, words: full })(stage);
      await stage.running(1);
      stage.fate(ends(0, { exitCode: 75, words: full }));
    },
    trail: [...restarted, 'Failed'],
    ends: failed('MaxRestartsReached'),
    says: /^gave up after 1 restarts .*WL_DISK_FULL: no room for the checkpoint of step 200\. Free 3 GiB/,
    failure: { code: 'WL_DISK_FULL', rule: 'MaxRestarts', action: 'Fail' },
    status: { restarts: 1, attempt: 1 },
    also: async ({ kubelet }) => [kubelet.seen, ['moby-worker-0 0', 'moby-worker-0 1']],
  },
  {
    name: 'a rule of action Ignore starts again free of charge, however often, with growing waits',
    spec: { faults: { maxRestarts: 0, rules: [{ name: 'flaky-disk', codes: ['WL_IO'], action: 'Ignore' }] } },
    script: async (stage) => {
      const flaky = words('WL_IO', 'read of corpus.txt failed', 'Check the disk.');
      await dies(0, { exitCode: 75, words: flaky })(stage);
      await stage.running(1, 0);
      stage.fate(ends(0, { exitCode: 75, words: flaky }));
    },
    trail: [...restarted, 'Restarting', 'Running'],
    ends: goesOn,
    says: /all ranks run/,
    failure: { rule: 'flaky-disk', charged: false, code: 'WL_IO' },
    status: { restarts: 0, attempt: 2, faultsInARow: 2 },
  },
  {
    name: 'a rule of action RestartGang replaces all pods for the end of one',
    spec: { ...twoRanks, ...rules({ name: 'all-anew', exitCodes: ['1-63'], action: 'RestartGang' }) },
    script: dies(1, { exitCode: 7 }),
    trail: restarted,
    ends: goesOn,
    says: /all ranks run/,
    failure: { rank: 1, exitCode: 7, rule: 'all-anew', action: 'RestartGang' },
    status: { attempt: 1, restarts: 1 },
    also: async ({ kubelet }) => [
      kubelet.seen.toSorted(),
      ['moby-worker-0 0', 'moby-worker-0 1', 'moby-worker-1 0', 'moby-worker-1 1'],
    ],
  },
  {
    name: 'a log line that a rule knows takes the job away from the node',
    spec: { ...twoRanks, ...rules({ name: 'sick-memory', log: 'ECC error*bank', action: 'ExcludeNode' }) },
    script: dies(1, {
      exitCode: 86,
      words: {
        rank: 1,
        code: 'WL_DEVICE_LOST',
        message: 'the compute core failed',
        logTail: 'step 12\nuncorrectable ECC error in bank 3',
      },
    }),
    trail: restarted,
    ends: goesOn,
    says: /all ranks run/,
    failure: {
      node: 'node-1',
      rule: 'sick-memory',
      action: 'ExcludeNode',
      logTail: 'step 12\nuncorrectable ECC error in bank 3',
    },
    status: { excludedNodes: ['node-1'], attempt: 0 },
    also: async (stage) => {
      const { affinity } = (await stage.pod(1)).spec;
      const [term] = affinity!.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms;
      return [term?.matchExpressions, [{ key: 'kubernetes.io/hostname', operator: 'NotIn', values: ['node-1'] }]];
    },
  },
  {
    name: 'a pod that its agent ended by a rule is replaced at once, without asking what the others do',
    spec: { ...twoRanks, ...rules({ name: 'new-pod', codes: ['WL_HANG'], action: 'RestartPod' }) },
    script: dies(1, {
      exitCode: 80,
      words: { ...words('WL_HANG', 'rank 1 has given no sign of life for 61 s', 'Check the machine.'), rank: 1, rule: 'new-pod' },
    }),
    trail: restarted,
    ends: goesOn,
    says: /all ranks run/,
    failure: { rank: 1, code: 'WL_HANG', rule: 'new-pod', action: 'RestartPod', charged: true },
  },
  {
    name: 'a rank that was killed and started again in its pod is told at once, and no pod changes',
    spec: twoRanks,
    script: async (stage) => {
      await stage.running();
      await stage.report({
        rank: 1,
        pod: 'moby-worker-1',
        signal: 'SIGKILL',
        step: 117,
        operation: 'allReduce',
        message: 'rank 1 was ended by SIGKILL; all 2 ranks start again (restart 1 of 3)',
        logTail: 'step 117',
      });
    },
    trail: started,
    ends: goesOn,
    says: /all ranks run/,
    failure: {
      rank: 1,
      pod: 'moby-worker-1',
      node: 'node-1',
      signal: 9,
      step: 117,
      rule: 'InPlace',
      action: 'RestartRank',
      charged: true,
      logTail: 'step 117',
    },
    status: { restarts: 1, inPlaceRestarts: 1 },
    also: async ({ kubelet }) => [kubelet.seen.length, 2],
  },
  {
    name: 'a rank that hung is told with the operation that the others wait in',
    spec: twoRanks,
    script: async (stage) => {
      await stage.running();
      await stage.report({
        rank: 1,
        pod: 'moby-worker-1',
        code: 'WL_HANG',
        exitCode: 80,
        operation: 'all-reduce',
        site: 'block 3 gradient',
        message: 'rank 1 (pod moby-worker-1) has not entered all-reduce 17',
        remedy: 'Check the machine.',
      });
    },
    trail: started,
    ends: goesOn,
    says: /all ranks run/,
    failure: {
      code: 'WL_HANG',
      operation: 'all-reduce',
      site: 'block 3 gradient',
      remedy: 'Check the machine.',
      action: 'RestartRank',
    },
  },
  {
    name: 'a faulty end of an agent counts the restarts that it made in place',
    spec: { faults: { maxRestarts: 2 } },
    script: dies(0, { exitCode: 80, words: { rank: 0, message: 'rank 0 was ended by SIGKILL', signal: 'SIGKILL', restarts: 2 } }),
    trail: gaveUp,
    ends: failed('MaxRestartsReached'),
    says: /^gave up after 2 restarts .*signal 9: rank 0 was ended by SIGKILL\. If nobody killed it/,
    failure: { signal: 9, exitCode: 80, action: 'Fail' },
    status: { restarts: 2 },
  },
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
    name: 'a quota without room is waited for, and its end noticed',
    spec: twoRanks,
    before: async (stage) => {
      await stage.ask('POST', quotaPath, quota('1'));
      await stage.ask('PUT', `${quotaPath}/small/status`, quota('1'));
    },
    script: async (stage) => {
      mustSay(await stage.unready('QuotaExceeded'), /exceeded quota: small, requested: pods=1.*\. Wait for other pods to end/);
      await stage.ask('DELETE', `${quotaPath}/small`);
    },
    trail: ['Starting', 'Pending', ...started],
    ends: goesOn,
    says: /all ranks run/,
  },
  {
    name: 'a namespace of Pod Security level restricted admits the pods',
    labels: { 'pod-security.kubernetes.io/enforce': 'restricted' },
    trail: started,
    ends: goesOn,
    says: /all ranks run/,
  },
  {
    name: 'a policy that refuses the pods stalls the job, in the words of the policy',
    labels: { refuses: 'pods' },
    before: async (stage) => {
      const { namespace } = stage;
      const metadata = { name: namespace };
      const group = '/apis/admissionregistration.k8s.io/v1';
      const rule = { apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['pods'] };
      const validation = { expression: 'false', message: 'this namespace takes no pods' };
      const matchConstraints = {
        resourceRules: [rule],
        namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': namespace } },
      };
      const policy = { failurePolicy: 'Fail', matchConstraints, validations: [validation] };
      const binding = { policyName: namespace, validationActions: ['Deny'] };
      await stage.ask('POST', `${group}/validatingadmissionpolicies`, {
        apiVersion: 'admissionregistration.k8s.io/v1',
        kind: 'ValidatingAdmissionPolicy',
        metadata,
        spec: policy,
      });
      await stage.ask('POST', `${group}/validatingadmissionpolicybindings`, {
        apiVersion: 'admissionregistration.k8s.io/v1',
        kind: 'ValidatingAdmissionPolicyBinding',
        metadata,
        spec: binding,
      });
      stage.onEnd(() => stage.ask('DELETE', `${group}/validatingadmissionpolicybindings/${namespace}`));
      stage.onEnd(() => stage.ask('DELETE', `${group}/validatingadmissionpolicies/${namespace}`));
      await stage.untilRefused();
    },
    trail: ['Starting', 'Pending'],
    ends: stalls('AdmissionRefused'),
    says: /denied request: this namespace takes no pods\. Change the job or the runtime so that it meets the policy/,
  },
  {
    name: 'a runtime that does not exist is named, and waited for',
    spec: { runtimeRef: { name: 'RUNTIME' } },
    script: async (stage) => {
      mustSay(await stage.unready('RuntimeNotFound'), /^ClusterTrainingRuntime \S+ does not exist; create it/);
      const metadata = { name: stage.namespace };
      const spec = { image: 'windlass:test', env: [], storage: { jobsClaim: 'jobs', modelsClaim: 'models' } };
      stage.onEnd(() => stage.client.delete(ClusterTrainingRuntime, metadata));
      await stage.client.create(ClusterTrainingRuntime, {
        apiVersion: ClusterTrainingRuntime.apiVersion,
        kind: 'ClusterTrainingRuntime',
        metadata,
        spec,
      });
    },
    trail: ['Pending', ...started],
    ends: goesOn,
    says: /all ranks run/,
  },
  {
    name: 'a schedule that can not run fails the job before a pod is made',
    spec: { parallelism: { pipeline: 2, schedule: 'csv', scheduleCsv: 'B0.0,F0.0\nF1.0,B1.0\n' } },
    trail: ['Failed'],
    ends: failed('ManifestInvalid'),
    says: /deadlock: line 1, column 1 .*\. Move something that is waited for/,
    also: async ({ kubelet }) => [kubelet.seen, []],
  },
  {
    name: 'a deadline ends a job that takes too long',
    spec: { activeDeadlineSeconds: 1 },
    before: async (stage) => stage.hinder(() => ({ waiting: { reason: 'ContainerCreating', message: '' } })),
    trail: ['Starting', 'Failed'],
    ends: failed('DeadlineExceeded'),
    says: /the job ran longer than activeDeadlineSeconds: 1\. Raise it, or give the job fewer steps/,
  },
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
  {
    name: 'ranks that are done one after the other leave the job running until the last of them',
    spec: twoRanks,
    script: async (stage) => {
      await stage.running();
      stage.fate(ends(1, { exitCode: 0 }));
      await stage.until(({ conditions }) => conditions?.some(({ message }) => message === '1 ranks run, 1 are done') === true);
      stage.fate(ends(0, { exitCode: 0, words: lastWords() }));
    },
    trail: [...started, 'Succeeded'],
    ends: { Ready: 'True Complete', Complete: 'True Published' },
    says: /^published moby-1$/,
  },
  {
    name: 'a job that meets with faults and does its steps all the same succeeds',
    script: async (stage) => {
      await dies(0, { exitCode: 137 })(stage);
      await stage.running(1);
      stage.fate(ends(0, { exitCode: 0, words: lastWords() }));
    },
    trail: ['Starting', 'Running', 'Restarting', 'Running', 'Succeeded'],
    ends: { Ready: 'True Complete', Complete: 'True Published' },
    says: /^published moby-1$/,
    failure: { signal: 9, action: 'RestartGang' },
    status: { restarts: 1, modelVersion: 'moby-1' },
  },
];
