// What a controller resolved from the runtime for one object, kept in its status.
import { z } from 'zod';
import { PodTemplate } from './pod-template.ts';

export const Effective = z
  .object({
    image: z.string().max(1024).describe('Image of the pods.'),
    runtime: z
      .object({
        kind: z.string().max(63).describe('Kind of the runtime.'),
        name: z.string().max(63).describe('Name of the runtime.'),
        generation: z.int().min(0).max(Number.MAX_SAFE_INTEGER).optional().describe('Generation that was copied.'),
      })
      .optional()
      .describe('Runtime that the settings were copied from.'),
    podTemplate: PodTemplate.prefault({}),
    env: z
      .array(
        z
          .object({ name: z.string().max(128).describe('Name.'), value: z.string().max(4096).describe('Value.') })
          .describe('A variable.'),
      )
      .max(64)
      .default([])
      .describe('Variables that the runtime sets.')
      .meta({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['name'] }),
    jobsClaim: z.string().max(253).describe('Claim that the job folder lies in.'),
    modelsClaim: z.string().max(253).describe('Claim that models lie in.'),
    cacheClaim: z.string().max(253).optional().describe('Claim in which nodes keep models that they serve.'),
    cacheBytes: z.int().min(1).max(Number.MAX_SAFE_INTEGER).optional().describe('Room for models there.'),
  })
  .describe('What the runtime gave, copied when the first pod was made; later changes of the runtime do not reach this object.');
export type Effective = z.output<typeof Effective>;
