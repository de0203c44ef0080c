// Failures of ranks that end by themselves or are killed: by exit code, signal, and the words that they leave.
import { lastWords } from '#operator/controllers/fixtures.ts';
import { ends, twoRanks } from '../failure-stage.ts';
import { dies, failed, gaveUp, goesOn, restarted, started, words } from './case.ts';
import type { Case } from './case.ts';

export const ended: readonly Case[] = [
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
