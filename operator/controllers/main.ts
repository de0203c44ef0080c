// The controllers of Windlass, as an operator or the embedded default starts them.
import type { Manager } from '#operator/framework/manager.ts';
import { addInferenceServiceController } from './inference-service/reconcile.ts';
import type { InferenceServiceOptions } from './inference-service/reconcile.ts';
import { addModelControllers } from './model/reconcile.ts';
import { addTrainingJobController } from './training-job/reconcile.ts';
import type { TrainingJobOptions } from './training-job/reconcile.ts';
import { addNetworkControllers } from './network/reconcile.ts';
import type { NetworkSettings } from './network/policy.ts';

export type ControllerOptions = TrainingJobOptions &
  InferenceServiceOptions & {
    /** What NetworkPolicies of jobs and services let their pods reach; absent: there are none. */
    network?: NetworkSettings | undefined;
  };

/** Adds all controllers to a manager that does not run yet. */
export function addControllers(manager: Manager, options: ControllerOptions): void {
  addModelControllers(manager);
  addTrainingJobController(manager, options);
  addInferenceServiceController(manager, options);
  if (options.network) addNetworkControllers(manager, options.network);
}
