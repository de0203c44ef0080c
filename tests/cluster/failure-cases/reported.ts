// Failures that agents mend in place, and only report over the bus.
import { twoRanks } from '../failure-stage.ts';
import { goesOn, started } from './case.ts';
import type { Case } from './case.ts';

export const reported: readonly Case[] = [
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
];
