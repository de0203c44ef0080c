// The state of a service's model in the vocabulary of KServe's `modelStatus`, which dashboards and people know.
import type { InferenceServiceStatus } from '#crds/v1alpha1/index.ts';
import { ExitCode } from '#runtime/api/exit-codes.ts';
import { errorTable } from '#runtime/api/errors.ts';
import type { ErrorCode } from '#runtime/api/errors.ts';

type ModelStatus = NonNullable<InferenceServiceStatus['model']>;
export type ModelFailure = NonNullable<ModelStatus['lastFailure']>;

/** What the engine's failure is about. The engine ends with a user error where the model, or what is asked of it, is at fault. */
export function failureReason(exitCode: number | undefined, code: string | undefined): NonNullable<ModelFailure['reason']> {
  if (code === 'WL_MANIFEST_INVALID') return 'InvalidSpec';
  if (code !== undefined && code in errorTable) {
    const { exit } = errorTable[code as ErrorCode];
    return exit === 'userError' || exit === 'dataCorrupt' ? 'ModelLoadFailed' : 'RuntimeUnhealthy';
  }
  return exitCode === ExitCode.userError || exitCode === ExitCode.dataCorrupt ? 'ModelLoadFailed' : 'RuntimeUnhealthy';
}

/** `transitionStatus`, `states` and `copies`, from our own words. `ready` and `failed` count pods of the target. */
export function kserveStatus(
  model: Pick<ModelStatus, 'active' | 'target' | 'state' | 'lastFailure'>,
  { ready, failed }: { ready: number; failed: number },
): Pick<ModelStatus, 'transitionStatus' | 'states' | 'copies'> {
  const { active, target, state, lastFailure } = model;
  const isServed = active !== undefined && active === target;
  return {
    transitionStatus: transitionOf(state, lastFailure),
    states: {
      ...(active === undefined ? {} : { activeModelState: 'Loaded' as const }),
      targetModelState: state === 'Serving' || (isServed && ready > 0) ? 'Loaded' : targetStates[state],
    },
    copies: { totalCopies: ready, failedCopies: failed },
  };
}

const targetStates = { Waiting: 'Pending', Loading: 'Loading', Serving: 'Loaded', Failed: 'FailedToLoad' } as const;

function transitionOf(
  state: ModelStatus['state'],
  failure: ModelFailure | undefined,
): NonNullable<ModelStatus['transitionStatus']> {
  if (state === 'Serving') return 'UpToDate';
  if (state !== 'Failed') return 'InProgress';
  return failure?.reason === 'InvalidSpec' ? 'InvalidSpec' : 'BlockedByFailedLoad';
}
