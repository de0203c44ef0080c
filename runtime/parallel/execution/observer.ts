// What looks on while a rank computes: told, in order, what is enqueued on the compute stream.
import type { Action } from '../schedule/main.ts';
import type { Unit } from './unit.ts';

/** An action of the schedule, or, within one, a pass through a unit. */
export type Computation = { readonly action: Action } | { readonly unit: Unit; readonly pass: 'forward' | 'backward' };

/** May mark the stream. Computations lie one in another or one after another. */
export interface ComputeObserver {
  /** What comes next on the stream belongs to `computation`, until `end`; what it has to wait for from other ranks is before it. */
  begin(computation: Computation): void;
  /** `inFlight`, of an action: grains whose activations the rank keeps after it, counted in each stage. */
  end(inFlight?: number): void;
}
