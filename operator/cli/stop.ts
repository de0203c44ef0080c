// `windlass stop`: asks the running instance to end and waits until it has.
import { requestStop } from '#operator/local/control.ts';
import type { StateDir } from '#operator/local/state-dir.ts';
import { findHolder, untilEnded } from '#operator/local/state-lock.ts';
import { WindlassError } from '#runtime/api/errors.ts';

/** Longer than the grace time of pods. */
const stopTimeoutMs = 120_000;

/** Resolves when the process of the instance has ended. Throws WL_NOT_RUNNING, or WL_NOT_ANSWERING if it does not end. */
export async function stopInstance(state: StateDir): Promise<void> {
  const holder = await findHolder(state);
  if (!(await requestStop(state))) throw new WindlassError('WL_NOT_RUNNING', `no windlass runs on ${state.path}`);
  if (!holder || (await untilEnded(holder, stopTimeoutMs))) return;
  const what = `the windlass of ${state.path} (process ${holder.pid}) did not end in ${stopTimeoutMs / 1000} s`;
  throw new WindlassError('WL_NOT_ANSWERING', what);
}
