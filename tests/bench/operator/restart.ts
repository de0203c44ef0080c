// A gang of which one pod fails: how long until all of it is made again, from the status that tells of the failure to the last pod created.
import { TrainingJob } from '#crds/v1alpha1/index.ts';
import { giveJobs, podCreates } from './burst.ts';
import { jobOf } from './jobs.ts';
import type { OperatorProcess } from './operator-process.ts';
import type { Stage } from './stage.ts';
import { operatorWrites } from '../../cluster/operator-writes.ts';

export interface RestartRound {
  readonly seconds: number;
  /** Pods that were made again; all of them, if the round counts. */
  readonly replaced: number;
  readonly faults: readonly string[];
}

/** Killed from outside: there is no doubt about what came first. */
const exitCode = 137;

export async function restartRound(stage: Stage, operator: OperatorProcess, ranks: number, name: string): Promise<RestartRound> {
  await stage.namespace(name);
  const rules = [{ name: 'all-anew', exitCodes: [exitCode], action: 'RestartGang' }];
  const job = jobOf(name, 'gang', ranks, { faults: { rules } });
  const { faults } = await giveJobs(stage, operator, [job]);
  const failed = `gang-worker-${ranks - 1}`;
  await stage.askKubelet({ kind: 'end', namespace: name, name: failed, exitCode });
  await Promise.race([stage.askKubelet({ kind: 'running', namespace: name, count: ranks }), operator.failed]);
  const writes = await stage.settled();
  const status = writes.find((write) => write.resource === 'pods/status' && write.name === failed);
  const creates = podCreates(writes, name).filter(({ code }) => code === 201);
  const found = await stage.client.get(TrainingJob, { namespace: name, name: 'gang' });
  const refused = operatorWrites(writes).filter(({ code }) => code >= 400 && code !== 404);
  await stage.clear(name);
  return {
    seconds: (Math.max(...creates.map(({ answeredMs }) => answeredMs)) - status!.answeredMs) / 1000,
    replaced: new Set(creates.map((create) => create.name)).size,
    faults: [
      ...faults,
      ...refused.map(({ verb, resource, name: object, code }) => `${verb} of ${resource} ${object} was refused with ${code}`),
      ...(creates.length === ranks ? [] : [`${creates.length} pods were made for ${ranks} ranks`]),
      ...(found.status?.state === 'Running' ? [] : [`the job is ${found.status?.state}`]),
    ],
  };
}
