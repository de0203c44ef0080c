// How the pods of a job are placed: whole or one by one, in one part of the cluster, with what priority. Names of KEP-6089, as in batch/v1 Job.
import { z } from 'zod';
import { oneOfMembers, withRules } from '../rules.ts';

const labelKeyPattern = /^([a-z0-9]([-a-z0-9.]*[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/;
const objectNamePattern = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

/** Set by its presence alone. */
const mark = (description: string) => z.strictObject({}).describe(description);

const Policy = oneOfMembers({
  gang: mark('All pods are placed or none; an elastic job: minRanks of them. Where the cluster can not do that, the job waits.'),
  basic: mark('Pods are placed one by one.'),
})
  .optional()
  .describe('If absent: gang where the cluster can do that, else basic.');

const TopologyConstraint = z
  .strictObject({
    key: z
      .string()
      .min(1)
      .max(317)
      .regex(labelKeyPattern, 'must be a label key')
      .describe('Label of nodes, such as topology.kubernetes.io/zone.'),
  })
  .describe('All pods go to nodes with one value of a label.');

export const Scheduling = withRules(
  z.strictObject({
    schedulingPolicy: Policy,
    schedulingConstraints: z
      .strictObject({
        topology: z.array(TopologyConstraint).min(1).max(1).describe('Where the pods go together; one constraint.'),
      })
      .optional()
      .describe('What the nodes of a gang have in common.'),
    disruptionMode: oneOfMembers({
      single: mark('One pod at a time may have to make room.'),
      all: mark('All pods make room together, or none.'),
    })
      .optional()
      .describe('How a gang makes room for work of higher priority. If absent: all; of an elastic job, single.'),
    priorityClassName: z
      .string()
      .min(1)
      .max(253)
      .regex(objectNamePattern, 'must be the name of a PriorityClass')
      .optional()
      .describe('PriorityClass of the pods and of the gang.'),
  }),
  [
    {
      cel: '!has(self.schedulingPolicy) || !has(self.schedulingPolicy.basic) || !(has(self.schedulingConstraints) || has(self.disruptionMode))',
      holds: ({ schedulingPolicy, schedulingConstraints, disruptionMode }) =>
        schedulingPolicy?.basic === undefined || (schedulingConstraints ?? disruptionMode) === undefined,
      message: 'schedulingConstraints and disruptionMode are of a gang; leave them out, or leave out basic',
      path: ['schedulingPolicy'],
    },
  ],
).describe('How the pods are placed.');
export type Scheduling = z.output<typeof Scheduling>;
