// What the in-memory API accepts: the rules of the CRDs for our kinds, the basics for Kubernetes' own.
import { formatFault, validate } from '#crds/faults.ts';
import type { Fault } from '#crds/faults.ts';
import type { KubeObject, Resource, ResourceType } from '#crds/resource.ts';
import { transitionFaults, unobserved } from '#crds/resource.ts';
import { resources } from '#crds/v1alpha1/index.ts';
import { apiVersionOf } from './client.ts';
import { KubeError } from './errors.ts';

/** Our declaration of a kind, if it is ours. */
export function resourceOf(type: Pick<ResourceType, 'group' | 'kind'>): Resource | undefined {
  return resources.find((resource) => resource.kind === type.kind && resource.group === type.group);
}

/** The object with defaults filled in. Throws Invalid naming every field that is refused. */
export function admit<T extends KubeObject>(type: ResourceType<T>, object: T, before: T | undefined): T {
  if (object.apiVersion !== apiVersionOf(type) || object.kind !== type.kind) {
    throw new KubeError('BadRequest', `expected ${apiVersionOf(type)} ${type.kind}, got ${object.apiVersion} ${object.kind}`);
  }
  if (type.namespaced !== (object.metadata.namespace !== undefined)) {
    throw new KubeError(
      'BadRequest',
      `${type.kind} ${object.metadata.name}: ${type.namespaced ? 'a' : 'no'} namespace is needed`,
    );
  }
  const resource = resourceOf(type);
  if (!resource) return object;
  const validated = validate(resource, object);
  if (!validated.ok) throw invalid(object, validated.faults);
  const admitted = { ...object, spec: validated.object.spec };
  if (before) {
    const faults = transitionFaults(resource, admitted.spec, (before as unknown as typeof admitted).spec);
    if (faults.length > 0)
      throw invalid(
        object,
        faults.map((fault) => ({ ...fault, path: ['spec', ...fault.path] })),
      );
  }
  return admitted;
}

/** What an object without a status has as its status: of our kinds, that nobody has looked at it yet. */
export function statusDefault(type: Pick<ResourceType, 'group' | 'kind'>): { status?: unknown } {
  return resourceOf(type)?.definition.status ? { status: unobserved } : {};
}

/** The status with unknown fields pruned. Throws Invalid. */
export function admitStatus(type: ResourceType, object: KubeObject, status: unknown): unknown {
  const schema = resourceOf(type)?.definition.status;
  if (!schema) return status;
  const parsed = schema.safeParse(status);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map((issue) => ({
    path: ['status', ...issue.path.map((key) => (typeof key === 'number' ? key : String(key)))],
    message: issue.message,
  }));
  throw invalid(object, faults);
}

/**
 * An object that an earlier version stored, as this version would have: new fields have their defaults, and fields of the status that have
 * another form now are left out, to be written anew. What can't be read otherwise stays as it is.
 */
export function readStored<T extends KubeObject>(type: ResourceType, object: T): T {
  const definition = resourceOf(type)?.definition;
  if (!definition) return object;
  const { spec, status } = object as T & { spec?: unknown; status?: Record<string, unknown> };
  const parsed = definition.spec.safeParse(spec);
  const faults = status === undefined ? undefined : definition.status?.safeParse(status).error;
  const misshapen = new Set(faults?.issues.map(({ path: [field] }) => field));
  const kept = Object.fromEntries(Object.entries(status ?? {}).filter(([field]) => !misshapen.has(field)));
  return {
    ...object,
    ...(parsed.success ? { spec: parsed.data } : {}),
    ...(status === undefined ? statusDefault(type) : { status: kept }),
  };
}

function invalid(object: KubeObject, faults: Fault[]): KubeError {
  return new KubeError('Invalid', `${object.kind} ${object.metadata.name} is invalid: ${faults.map(formatFault).join('; ')}`, {
    faults,
  });
}
