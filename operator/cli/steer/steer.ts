// `windlass pause|resume|restart`: changes one object, says what happens, and waits for it if asked to.
import { setTimeout as sleep } from 'node:timers/promises';
import { InferenceService, TrainingJob } from '#crds/v1alpha1/index.ts';
import { keyOf } from '#operator/kube/client.ts';
import type { ResourceType } from '#operator/kube/client.ts';
import type { Pod } from '#operator/kube/core.ts';
import { isConflict } from '#operator/kube/errors.ts';
import { WindlassError } from '#runtime/api/errors.ts';
import { formatDuration } from '../format.ts';
import { jobView, serviceView } from '../object-view.ts';
import { linesOfChange } from '../plain-lines.ts';
import { podsOf } from '../status/gather.ts';
import { readObjects } from '../status/instance-objects.ts';
import { findOne, parseReference, wordOf } from '../target/references.ts';
import type { Target } from '../target/target.ts';
import type { View } from '../view.ts';
import { changeFor, refuseIfEnded } from './change.ts';
import type { Change, Steered, Verb } from './change.ts';

export interface SteerOptions {
  /** KIND/NAME, KIND NAME or NAME. */
  readonly words: readonly string[];
  /** Seconds to wait until it has happened; not at all if absent. */
  readonly waitSeconds?: number | undefined;
  readonly write: (text: string) => void;
  readonly signal: AbortSignal;
}

const lookEveryMs = 250;

/** Throws WL_OBJECT_NOT_FOUND, WL_USAGE, WL_HAS_ENDED, WL_WAIT_TIMEOUT, or what the API refuses. */
export async function steer(target: Target, verb: Verb, options: SteerOptions): Promise<void> {
  const reference = parseReference(options.words, { nameFirst: true });
  for (;;) {
    const object = (await findOne(target, reference, [TrainingJob, InferenceService])) as Steered;
    const pods = await podsOf(target.api, object);
    const change = changeFor(verb, object, pods, new Date().toISOString());
    try {
      if (change.patch) {
        const { resourceVersion, uid } = object.metadata;
        await target.api.patch(typeOf(object), keyOf(object), change.patch, { resourceVersion, uid });
      }
    } catch (error) {
      // Somebody wrote in between: what they wrote decides anew.
      if (isConflict(error)) continue;
      throw error;
    }
    options.write(`${change.words}\n`);
    if (options.waitSeconds !== undefined)
      await waitFor(target, verb, object, change, { ...options, waitSeconds: options.waitSeconds });
    return;
  }
}

async function waitFor(
  target: Target,
  verb: Verb,
  object: Steered,
  change: Change,
  { waitSeconds, write, signal }: SteerOptions & { waitSeconds: number },
): Promise<void> {
  const deadline = Date.now() + waitSeconds * 1000;
  const who = wordOf(object);
  let shown: View | undefined;
  for (;;) {
    const { current, pods } = await lookAt(target, object, change);
    const view = viewOf(current);
    for (const line of linesOfChange(shown, view)) write(`${line}\n`);
    shown = view;
    if (change.isDone(current, pods)) return write(`${who}: done\n`);
    refuseIfEnded(current, verb);
    if (signal.aborted) return;
    if (Date.now() >= deadline)
      throw new WindlassError('WL_WAIT_TIMEOUT', `${who} did not ${verb} within ${formatDuration(waitSeconds)}`);
    await sleep(lookEveryMs, undefined, { signal }).catch(() => {});
  }
}

/** An instance ends when all that is left is paused, perhaps between two looks: then what it wrote last says that it is done. */
async function lookAt(
  target: Target,
  object: Steered,
  { isDone }: Change,
): Promise<{ readonly current: Steered; readonly pods: readonly Pod[] }> {
  try {
    const current = await target.api.get(typeOf(object), keyOf(object));
    return { current, pods: await podsOf(target.api, current) };
  } catch (error) {
    if (target.kind !== 'instance' || !(error instanceof WindlassError) || error.code !== 'WL_NOT_RUNNING') throw error;
    const { objects } = await readObjects(target.state);
    const last = objects.find(({ metadata }) => metadata.uid === object.metadata.uid) as Steered | undefined;
    if (last && isDone(last, [])) return { current: last, pods: [] };
    throw error;
  }
}

function typeOf({ kind }: Steered): ResourceType<Steered> {
  return kind === TrainingJob.kind ? TrainingJob : InferenceService;
}

function viewOf(object: Steered): View {
  const isJob = object.kind === TrainingJob.kind;
  return {
    title: '',
    elapsedSeconds: 0,
    jobs: isJob ? [jobView(object as TrainingJob)] : [],
    services: isJob ? [] : [serviceView(object as InferenceService)],
  };
}
