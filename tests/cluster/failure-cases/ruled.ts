// Failures for which the job has a rule of its own.
import { ends, twoRanks } from '../failure-stage.ts';
import { dies, failed, gaveUp, goesOn, restarted, rules, words } from './case.ts';
import type { Case } from './case.ts';

export const ruled: readonly Case[] = [
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
];
