// `windlass stop`: asks the running instance to end and waits until it has.
import { requestStop } from '#operator/local/control.ts';
import type { StateDir } from '#operator/local/state-dir.ts';
import { formatProcess, untilReleased } from '#operator/local/state-lock.ts';
import { WindlassError } from '#runtime/api/errors.ts';

/** Longer than the grace time of pods. */
const stopTimeoutMs = 120_000;

/** Resolves when the process of the instance has let go of its folder. Throws WL_NOT_RUNNING, or WL_NOT_ANSWERING if it does not end. */
export async function stopInstance(state: StateDir): Promise<void> {
  const who = formatProcess(state);
  if (!(await requestStop(state))) throw new WindlassError('WL_NOT_RUNNING', `no windlass runs on ${state.path}`);
  if (await untilReleased(state, stopTimeoutMs)) return;
  throw new WindlassError('WL_NOT_ANSWERING', `the windlass of ${state.path}${who} did not end in ${stopTimeoutMs / 1000} s`);
}
