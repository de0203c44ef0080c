// A restart that somebody asked for by annotation: pods of another revision, made from what the runtime says now.
import { annotation } from '#crds/names.ts';
import type { InferenceService } from '#crds/v1alpha1/index.ts';
import { effectiveAnew } from '../effective.ts';
import type { BuiltinSettings, Runtime } from '../effective.ts';

const maxLength = 64;

interface Restartable {
  readonly service: InferenceService;
  readonly runtime: Runtime | undefined;
  readonly builtin: BuiltinSettings;
}

/** The observation with the settings of now, if a restart was asked for since they were taken. */
export function startedAnew<T extends Restartable>(seen: T): T {
  const { service, runtime, builtin } = seen;
  const { metadata, spec, status } = service;
  const request = metadata.annotations?.[annotation.restartRequestedAt]?.slice(0, maxLength);
  if (request === undefined || request === '' || request === status?.restartRequest) return seen;
  const effective = status?.effective && effectiveAnew(status.effective, spec.runtimeRef, runtime, builtin);
  return { ...seen, service: { ...service, status: { ...status, effective, restartRequest: request } } };
}
