// Declares a kind of the API once: names, schema, columns and rules; types, validation and the CRD follow from it.
import { z } from 'zod';
import type { TransitionRule } from './rules.ts';

export const group = 'windlass.dev';

/** Status of an object that no controller has looked at yet: kstatus takes one without a status for done. */
export const unobserved = { observedGeneration: 0 };

interface OwnerReference {
  apiVersion: string;
  kind: string;
  name: string;
  uid: string;
  controller?: boolean;
  blockOwnerDeletion?: boolean;
}

/** Metadata of any object, as the API server keeps it. What the server fills is absent before creation. */
export interface ObjectMeta {
  name: string;
  namespace?: string;
  uid?: string;
  resourceVersion?: string;
  generation?: number;
  creationTimestamp?: string;
  deletionTimestamp?: string;
  deletionGracePeriodSeconds?: number;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  finalizers?: string[];
  ownerReferences?: OwnerReference[];
}

/** What every object has; kinds add `spec`, `status` and others. */
export interface KubeObject {
  apiVersion: string;
  kind: string;
  metadata: ObjectMeta;
}

/** An object of a kind with a spec and a status. */
export interface Custom<Spec, Status> extends KubeObject {
  spec: Spec;
  status?: Status;
}

/** How the API names a kind. `T` is the type of its objects. */
export interface ResourceType<T extends KubeObject = KubeObject> {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly plural: string;
  readonly namespaced: boolean;
  /** Never set: carries `T` for inference. */
  readonly objectType?: T;
}

interface PrinterColumn {
  name: string;
  type: 'string' | 'integer' | 'number' | 'date' | 'boolean';
  jsonPath: string;
  /** 1 shows the column in the wide output only. */
  priority?: 0 | 1;
}

export interface ResourceDefinition<Spec extends z.ZodType = z.ZodType, Status extends z.ZodType = z.ZodType> {
  kind: string;
  plural: string;
  shortNames: readonly string[];
  description: string;
  /** Longest name, where children are named after the object. 63 if left out. */
  nameMaxLength?: number;
  scope?: 'Namespaced' | 'Cluster';
  spec: Spec;
  status?: Status;
  printerColumns: readonly PrinterColumn[];
  scale?: { specReplicasPath: string; statusReplicasPath: string; labelSelectorPath: string };
  /** Rules over old and new spec, by CEL in the CRD and by their function twin here. */
  transitions?: readonly TransitionRule[];
  /** A complete manifest, shown by `kubectl explain` readers and tested to be valid. */
  example: Record<string, unknown>;
}

/** A kind of ours: its API names, its definition, and the schema of a whole object. */
export interface Resource<Spec extends z.ZodType = z.ZodType, Status extends z.ZodType = z.ZodType> extends ResourceType<
  Custom<z.output<Spec>, z.output<Status>>
> {
  readonly apiVersion: string;
  readonly definition: ResourceDefinition<Spec, Status>;
  /** Parses what a user wrote: unknown fields are faults, defaults are filled in. */
  readonly manifest: z.ZodType<Custom<z.output<Spec>, z.output<Status>>>;
}

/** The type of a resource's objects: `type TrainingJob = ObjectOf<typeof TrainingJob>`. */
export type ObjectOf<R> = R extends ResourceType<infer T> ? T : never;

const dnsLabel = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;

/** Metadata that a manifest may carry; what else the API server put there passes through untouched. */
function metadataSchema(nameMaxLength: number) {
  return z.looseObject({
    name: z
      .string()
      .max(nameMaxLength)
      .regex(dnsLabel, 'must be lower-case letters, digits and "-", and begin and end with a letter or digit'),
    namespace: z
      .string()
      .max(63)
      .regex(dnsLabel, 'must be lower-case letters, digits and "-", and begin and end with a letter or digit')
      .optional(),
    labels: z.record(z.string(), z.string()).optional(),
    annotations: z.record(z.string(), z.string()).optional(),
  });
}

/** Declares a kind of group windlass.dev, version v1alpha1. */
export function defineResource<Spec extends z.ZodType, Status extends z.ZodType>(
  definition: ResourceDefinition<Spec, Status>,
): Resource<Spec, Status> {
  const apiVersion = `${group}/v1alpha1`;
  const manifest = z.strictObject({
    apiVersion: z.literal(apiVersion),
    kind: z.literal(definition.kind),
    metadata: metadataSchema(definition.nameMaxLength ?? 63),
    spec: definition.spec,
    status: z.unknown().optional(),
  });
  return {
    group,
    version: 'v1alpha1',
    kind: definition.kind,
    plural: definition.plural,
    namespaced: definition.scope !== 'Cluster',
    apiVersion,
    definition,
    manifest: manifest as unknown as Resource<Spec, Status>['manifest'],
  };
}

/** Faults of a change from one spec to another: what the CRD's transition rules would say. */
export function transitionFaults(resource: Resource, spec: unknown, oldSpec: unknown): { path: string[]; message: string }[] {
  return (resource.definition.transitions ?? [])
    .filter((rule) => !rule.holds(spec, oldSpec))
    .map((rule) => ({ path: rule.path, message: rule.message }));
}
