// A restart that somebody asked for by annotation: all pods of a job anew, once for each request, and free of charge.
import { annotation } from '#crds/names.ts';
import type { TrainingJob } from '#crds/v1alpha1/index.ts';
import { effectiveAnew } from '../effective.ts';
import type { Decision, Observed } from './decision.ts';
import { forgetRanks } from './status.ts';

const maxLength = 64;

/** The request that has not been carried out yet. */
export function restartRequest({ metadata, status }: TrainingJob): string | undefined {
  const request = metadata.annotations?.[annotation.restartRequestedAt]?.slice(0, maxLength);
  return request === '' || request === status?.restartRequest ? undefined : request;
}

/**
 * Pods of this attempt are stale from now on: they save a checkpoint and end. Where there are none, only the wait for the next restart is over. The
 * next ones are made from what the runtime says now, but the claims stay: the checkpoint is there.
 */
export function restartAsAsked({ job, pods, runtime, builtin }: Observed, request: string): Decision {
  const { effective: before } = job.status!;
  const { jobsClaim, modelsClaim } = before!;
  const effective = { ...effectiveAnew(before!, job.spec.runtimeRef, runtime, builtin), jobsClaim, modelsClaim };
  const status = { restartRequest: request, nextRestartTime: undefined, effective };
  const message = `asked for at ${request}: the ranks save a checkpoint, and all pods are made again`;
  const conditions: Decision['conditions'] = [
    { type: 'Ready', status: 'False', reason: 'RestartRequested', message },
    { type: 'Reconciling', status: 'True', reason: 'RestartRequested' },
  ];
  if (pods.length === 0) return { state: 'Starting', conditions, status };
  return {
    state: 'Restarting',
    conditions,
    status: {
      ...status,
      attempt: (job.status?.attempt ?? 0) + 1,
      inPlaceRestarts: undefined,
      replacing: undefined,
      ...forgetRanks,
    },
    events: [{ type: 'Normal', reason: 'RestartRequested', action: 'Restart', note: message }],
  };
}
