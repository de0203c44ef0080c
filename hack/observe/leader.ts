// Series of the operator that leads: several stand by, and each tells of its own queues.
import { leaseName } from '#operator/controllers/access.ts';

/** Whether an operator leads, by the matchers given: 1 or 0. */
export function leads(...matchers: string[]): string {
  return `leader_election_master_status{${[...matchers, `name="${leaseName}"`].join(',')}}`;
}

/** `expr`, of the operator that leads. */
export function ofLeader(expr: string): string {
  return `${expr} and on (job, instance) (${leads()} == 1)`;
}
