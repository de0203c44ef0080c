// What it means for a job that the API server does not take its pods, and how the job says so.
import { applyConditions } from '#crds/conditions.ts';
import { TrainingJob } from '#crds/v1alpha1/index.ts';
import { TerminalError } from '#operator/framework/controller.ts';
import type { ReconcileResult } from '#operator/framework/controller.ts';
import type { KubeClient } from '#operator/kube/client.ts';
import { isoTime } from '#operator/kube/clock.ts';
import type { Clock } from '#operator/kube/clock.ts';
import { isForbidden, isInvalid } from '#operator/kube/errors.ts';
import { withRemedy } from '../pod-ending.ts';
import { refusals } from '../reasons.ts';
import type { RefusalReason } from '../reasons.ts';
import { writeStatus } from '../status-writer.ts';

/** Nothing tells when a quota or a policy has changed. */
const tryAgainMs = 15_000;

/** Why the API server refused; undefined for what is no refusal. Quotas, Pod Security and policies all answer 403, with words of their own. */
export function refusalReasonOf(error: unknown): RefusalReason | undefined {
  if (isInvalid(error)) return /denied request|admission webhook/.test(error.message) ? 'AdmissionRefused' : 'ChildRefused';
  if (!isForbidden(error)) return undefined;
  const { message } = error;
  if (/exceeded quota|failed quota|status unknown for quota/.test(message)) return 'QuotaExceeded';
  if (/violates PodSecurity/.test(message)) return 'PodSecurityViolated';
  if (/is being terminated/.test(message)) return 'NamespaceTerminating';
  return / cannot \w+ resource /.test(message) ? 'Forbidden' : 'AdmissionRefused';
}

/**
 * The job says why its pods are refused, and tries again later; a child that is invalid stays so until the job changes. Throws what is no
 * refusal as it is, and `TerminalError` for what is not tried again.
 */
export async function tellRefusal(client: KubeClient, job: TrainingJob, error: unknown, clock: Clock): Promise<ReconcileResult> {
  const reason = refusalReasonOf(error);
  if (reason === undefined || !(error instanceof Error)) throw error;
  const { remedy, stalls } = refusals[reason] as { remedy: string; stalls?: true };
  const why = { reason, message: withRemedy(error.message, remedy) };
  const generation = job.metadata.generation ?? 0;
  const conditions = applyConditions(
    job.status?.conditions,
    [
      { type: 'Ready', status: 'False', ...why },
      { type: 'Stalled', status: stalls ? 'True' : 'False', ...why },
      { type: 'Reconciling', status: stalls ? 'False' : 'True', ...why },
    ],
    generation,
    isoTime(clock.now()),
  );
  // What had just been written down was what should follow.
  const state = job.status?.state === 'Starting' ? 'Pending' : job.status?.state;
  await writeStatus(client, TrainingJob, job, { ...job.status, state, observedGeneration: generation, conditions });
  if (reason === 'ChildRefused') throw new TerminalError(error.message, { cause: error });
  return { requeueAfterMs: tryAgainMs };
}
