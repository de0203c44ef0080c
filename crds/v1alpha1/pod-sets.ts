// What a job asks of a cluster, resolved: for whoever admits jobs by quota. What a Workload of Kueue says in spec.podSets, without the nesting.
import { z } from 'zod';

const word = (max: number, description: string) => z.string().max(max).optional().describe(description);
/** A map of the status: its keys were checked where they were written. */
const words = (description: string) =>
  z.record(z.string(), z.string().max(317)).optional().meta({ maxProperties: 64 }).describe(description);
const count = (description: string) => z.int().min(1).max(2_147_483_647).describe(description);

const Toleration = z
  .object({
    key: word(317, 'Key.'),
    operator: word(8, 'Operator.'),
    value: word(63, 'Value.'),
    effect: word(32, 'Effect.'),
    tolerationSeconds: count('Seconds.').min(0).optional(),
  })
  .describe('A toleration.');

export const PodSet = z
  .object({
    name: z.string().max(63).describe('Name.'),
    count: count('Pods.'),
    minCount: count('Fewest pods that the job can go on with, where these are fewer.').optional(),
    requests: words('What each pod reserves.'),
    limits: words('What each pod may use at most.'),
    nodeSelector: words('Labels of the nodes.'),
    tolerations: z.array(Toleration).max(32).optional().describe('Taints that the pods tolerate.'),
    priorityClassName: word(253, 'PriorityClass.'),
    topologyKey: word(317, 'Label of nodes that all pods must have the same value of.'),
  })
  .describe('Pods that are alike.');
export type PodSet = z.output<typeof PodSet>;
