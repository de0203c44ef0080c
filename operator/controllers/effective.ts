// What pods start from: the runtime's settings copied once into status.effective, and the object's own pod template laid over them.
import { storage } from '#crds/names.ts';
import type { Effective, PodTemplate, RuntimeReference, TrainingRuntime } from '#crds/v1alpha1/index.ts';

/** Settings of pods whose object names no runtime. */
export interface BuiltinSettings {
  /** Image of the operator's own release. */
  image: string;
  /** Event bus that ranks report to, as WL_BUS says it; absent where the node tells pods, or where there is none. */
  bus?: string;
  /** Where pods of jobs get their credentials; absent where they need none. */
  credentials?: CredentialsSettings;
}

export interface CredentialsSettings {
  /** `https://HOST:PORT`. */
  readonly url: string;
  /** PEM of the authorities that vouch for it now. */
  readonly ca: string;
}

/** Both kinds of runtime have the same fields. */
export type Runtime = TrainingRuntime;

/** Copies what a runtime gives. Without a reference, the built-in settings. */
export function effectiveOf(runtime: Runtime | undefined, builtin: BuiltinSettings): Effective {
  if (!runtime) {
    const { jobsClaim, modelsClaim } = storage;
    return { image: builtin.image, podTemplate: {}, env: [], jobsClaim, modelsClaim };
  }
  const { spec, metadata, kind } = runtime;
  return {
    image: spec.image ?? builtin.image,
    runtime: { kind, name: metadata.name, generation: metadata.generation },
    podTemplate: spec.podTemplate ?? {},
    env: spec.env,
    jobsClaim: spec.storage.jobsClaim,
    modelsClaim: spec.storage.modelsClaim,
    ...(spec.storage.cacheClaim === undefined ? {} : { cacheClaim: spec.storage.cacheClaim }),
    ...(spec.storage.cacheBytes === undefined ? {} : { cacheBytes: spec.storage.cacheBytes }),
  };
}

/** What a restart that was asked for starts from: the settings of now. If the runtime has gone since, nothing changes. */
export function effectiveAnew(
  before: Effective,
  reference: RuntimeReference | undefined,
  runtime: Runtime | undefined,
  builtin: BuiltinSettings,
): Effective {
  return reference && !runtime ? before : effectiveOf(runtime, builtin);
}

/** What to tell the user while the runtime that an object names does not exist. */
export function runtimeMissing(reference: RuntimeReference): string {
  return `${reference.kind} ${reference.name} does not exist; create it, or name another one in spec.runtimeRef`;
}

/** The template of a runtime with the one of an object over it: maps are merged key by key, tolerations added. */
export function mergeTemplates(base: PodTemplate, over: PodTemplate | undefined): PodTemplate {
  if (!over) return base;
  const resources = {
    ...(base.resources?.requests || over.resources?.requests
      ? { requests: { ...base.resources?.requests, ...over.resources?.requests } }
      : {}),
    ...(base.resources?.limits || over.resources?.limits
      ? { limits: { ...base.resources?.limits, ...over.resources?.limits } }
      : {}),
  };
  return {
    labels: { ...base.labels, ...over.labels },
    nodeSelector: { ...base.nodeSelector, ...over.nodeSelector },
    tolerations: [...(base.tolerations ?? []), ...(over.tolerations ?? [])],
    resources,
  };
}
