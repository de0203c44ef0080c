// `windlass stop`: asks the running instance to end and waits until it has.
import { fetchObjects, requestStop } from '#operator/local/control.ts';
import type { StateDir } from '#operator/local/state-dir.ts';
import { WindlassError } from '#runtime/api/errors.ts';

const pollMs = 100;

/** Resolves when the instance is gone. Throws WL_NOT_RUNNING. */
export async function stopInstance(state: StateDir): Promise<void> {
  if (!(await requestStop(state.controlSocket))) throw new WindlassError('WL_NOT_RUNNING', `no windlass runs on ${state.path}`);
  while ((await fetchObjects(state.controlSocket)) !== undefined) await new Promise((resolve) => setTimeout(resolve, pollMs));
}
