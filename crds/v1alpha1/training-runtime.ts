// TrainingRuntime and ClusterTrainingRuntime: the admin's template that pods of jobs and services start from.
import { z } from 'zod';
import { defineResource } from '../resource.ts';
import type { ObjectOf } from '../resource.ts';
import { storage } from '../names.ts';
import { PodTemplate } from './pod-template.ts';

const claimPattern = /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/;

const Spec = z
  .strictObject({
    image: z
      .string()
      .min(1)
      .max(1024)
      .optional()
      .describe("Image of the pods. The image of the operator's own release if absent."),
    env: z
      .array(
        z
          .strictObject({
            name: z
              .string()
              .min(1)
              .max(128)
              .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'must be letters, digits and "_"')
              .describe('Name of the variable.'),
            value: z.string().max(4096).describe('Its value.'),
          })
          .describe('A variable.'),
      )
      .max(64)
      .default([])
      .describe('Variables of the main container, such as WL_THREADS. Those of the pod contract win.')
      .meta({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['name'] }),
    podTemplate: PodTemplate.optional(),
    storage: z
      .strictObject({
        jobsClaim: z
          .string()
          .max(253)
          .regex(claimPattern, 'must be the name of a PersistentVolumeClaim')
          .default(storage.jobsClaim)
          .describe('PersistentVolumeClaim for checkpoints, metrics and caches.'),
        modelsClaim: z
          .string()
          .max(253)
          .regex(claimPattern, 'must be the name of a PersistentVolumeClaim')
          .default(storage.modelsClaim)
          .describe('PersistentVolumeClaim for published models.'),
        cacheClaim: z
          .string()
          .max(253)
          .regex(claimPattern, 'must be the name of a PersistentVolumeClaim')
          .optional()
          .describe(
            'PersistentVolumeClaim in which serving pods keep models, best on a disk of each node: it is fetched once for all pods that share it. Models are read where they were published if absent.',
          ),
        cacheBytes: z
          .int()
          .min(1_048_576)
          .max(Number.MAX_SAFE_INTEGER)
          .optional()
          .describe('Room for models in it; those that were not used for longest make room. No bound if absent.'),
      })
      .prefault({})
      .describe('Where jobs keep their files, in the namespace of the job.'),
  })
  .describe('What pods start from; podTemplate of the job or service is laid over it.');

const example = {
  metadata: { name: 'cpu' },
  spec: { env: [{ name: 'WL_THREADS', value: '8' }], podTemplate: { resources: { requests: { cpu: 8, memory: '16Gi' } } } },
};
const printerColumns = [
  { name: 'Image', type: 'string', jsonPath: '.spec.image' },
  { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
] as const;

export const TrainingRuntime = defineResource({
  kind: 'TrainingRuntime',
  plural: 'trainingruntimes',
  shortNames: ['tr'],
  description: 'A template for the pods of jobs and services of its namespace.',
  spec: Spec,
  printerColumns,
  example,
});
export type TrainingRuntime = ObjectOf<typeof TrainingRuntime>;

export const ClusterTrainingRuntime = defineResource({
  kind: 'ClusterTrainingRuntime',
  plural: 'clustertrainingruntimes',
  shortNames: ['ctr'],
  scope: 'Cluster',
  description: 'A template for the pods of jobs and services of every namespace.',
  spec: Spec,
  printerColumns,
  example,
});
export type ClusterTrainingRuntime = ObjectOf<typeof ClusterTrainingRuntime>;
