// Carries out what a schedule says for this rank: computes, sends, receives, and lets weights be gathered and gradients reduced.
import type { Device, Precision, Tensor } from '#runtime/tensor/main.ts';
import { isCompute, joinedReductions } from '../schedule/main.ts';
import type { Action } from '../schedule/main.ts';
import type { Batch, Grain } from './grains.ts';
import type { ComputeObserver } from './observer.ts';
import type { StageWork, StepContext } from './stage.ts';
import type { Transfers } from './transfers.ts';

export interface ExecutorOptions {
  readonly device: Pick<Device, 'sync'>;
  /** The rank's stages, by their number in the schedule. */
  readonly stages: ReadonlyMap<number, StageWork>;
  readonly actions: readonly Action[];
  readonly transfers: Pick<Transfers, 'send' | 'receive'>;
  /** Pipeline rank of each stage. */
  readonly placement: readonly number[];
  /** 1 / `share` of the rows goes from stage to stage. */
  readonly share: number;
  /** Shape of what goes from stage to stage, for one grain. */
  readonly boundaryShape: readonly number[];
  /** Of what goes forward, f32 if absent; gradients are f32. */
  readonly precision?: Precision | undefined;
  /** Told of each compute action. */
  readonly observer?: ComputeObserver | undefined;
}

/** Compute actions that may be enqueued and not done: enough that the device never waits, and a bound for the memory that waits with them. */
const actionsAhead = 2;

export class Executor {
  readonly #options: ExecutorOptions;
  /** Positions of reductions, by that of the action which they go with. */
  readonly #reductions: ReadonlyMap<number, number>;
  /** What was received, or comes from a stage of the same rank, for a stage and grain. */
  readonly #arrived = new Map<string, Tensor>();

  constructor(options: ExecutorOptions) {
    this.#options = options;
    this.#reductions = joinedReductions(options.actions);
  }

  /** Runs the actions of one step. Calls `onLoss` with the sum of the losses of each grain, [1], which the callee owns. */
  async run(grains: readonly Grain[], step: StepContext, onLoss: (loss: Tensor) => void): Promise<void> {
    const running: Promise<void>[] = [];
    try {
      const joined = new Set(this.#reductions.values());
      for (const [at, action] of this.#options.actions.entries()) {
        if (!isCompute(action)) {
          if (!joined.has(at)) this.#carryOut(at, action, grains, step, onLoss);
          continue;
        }
        if (running.length >= actionsAhead) await running.shift();
        this.#options.observer?.begin({ action });
        this.#carryOut(at, action, grains, step, onLoss);
        this.#options.observer?.end(this.#inFlight());
        running.push(this.#done());
      }
    } finally {
      await Promise.allSettled(running);
      for (const tensor of this.#arrived.values()) tensor.dispose();
      this.#arrived.clear();
      for (const stage of this.#options.stages.values()) stage.clear();
    }
  }

  /** Losses of the tokens of a batch, [M], where this rank has the last stage; the caller owns them. Nothing is kept for a backward pass. */
  evaluate(batch: Batch): Tensor | undefined {
    const { stages, transfers, boundaryShape, placement, share, precision = 'f32' } = this.#options;
    const shape = [batch.inputs.length / share, boundaryShape[1] ?? 1];
    let passed: Tensor | undefined;
    for (const [number, stage] of [...stages].sort(([a], [b]) => a - b)) {
      const isNear = placement[number - 1] === placement[number];
      const input = stage.isFirst || isNear ? passed : transfers.receive(shape, 'forward', number - 1, precision);
      const output = stage.evaluate(batch, input);
      input?.dispose();
      if (stage.isLast) return output;
      if (placement[number + 1] === placement[number]) passed = output;
      else this.#send(output, 'forward', number);
    }
    return undefined;
  }

  /** Rejections are those of the step itself, which reads its loss last. */
  #done(): Promise<void> {
    const done = this.#options.device.sync();
    done.catch(() => {});
    return done;
  }

  #carryOut(at: number, action: Action, grains: readonly Grain[], step: StepContext, onLoss: (loss: Tensor) => void): void {
    const { transfers, boundaryShape, precision = 'f32' } = this.#options;
    const { type, stage: number } = action;
    const stage = this.#stage(number);
    if (type === 'unshard') return stage.unshard(this.#nextPass(at, number));
    if (type === 'reshard') return stage.reshard();
    if (type === 'reduce') return stage.reduce(action.grain === undefined || action.grain === grains.length - 1);
    const reduces = this.#reductions.has(at);
    const grain = grains[action.grain ?? -1];
    if (!grain) throw new Error(`internal: ${type} of a grain that the step does not have`);
    switch (type) {
      case 'receiveForward':
        this.#arrive('forward', number, grain, transfers.receive(boundaryShape, 'forward', number - 1, precision));
        return;
      case 'receiveBackward':
        this.#arrive('backward', number, grain, transfers.receive(boundaryShape, 'backward', number, 'f32'));
        return;
      case 'sendForward':
        this.#send(this.#take('forward', number + 1, grain), 'forward', number);
        return;
      case 'sendBackward':
        this.#send(this.#take('backward', number - 1, grain), 'backward', number - 1);
        return;
      case 'forward': {
        const input = stage.isFirst ? undefined : this.#take('forward', number, grain);
        const output = stage.forward(grain, step, input);
        if (output) this.#arrive('forward', number + 1, grain, output);
        return;
      }
      case 'backward':
      case 'backwardInput': {
        const gradient = stage.isLast ? undefined : this.#take('backward', number, grain);
        const { input, loss } = stage.backward(grain, step, gradient, {
          weights: type === 'backward' ? 'now' : 'later',
          reduces,
        });
        gradient?.dispose();
        if (input) this.#arrive('backward', number - 1, grain, input);
        if (loss) onLoss(loss);
        return;
      }
      case 'backwardWeight':
        stage.backwardWeights(grain, reduces);
    }
  }

  #nextPass(at: number, stage: number): 'forward' | 'backward' {
    const next = this.#options.actions.find((action, index) => index > at && action.stage === stage && isCompute(action));
    return next?.type === 'forward' ? 'forward' : 'backward';
  }

  /** Grains whose activations are kept, counted in each stage. */
  #inFlight(): number {
    let count = 0;
    for (const stage of this.#options.stages.values()) count += stage.inFlight;
    return count;
  }

  #stage(number: number): StageWork {
    const stage = this.#options.stages.get(number);
    if (!stage) throw new Error(`internal: stage ${number} is not on this rank`);
    return stage;
  }

  #send(tensor: Tensor, direction: 'forward' | 'backward', boundary: number): void {
    this.#options.transfers.send(tensor, direction, boundary);
    tensor.dispose();
  }

  #arrive(direction: string, stage: number, grain: Grain, tensor: Tensor): void {
    this.#arrived.set(`${direction} ${stage} ${grain.index}`, tensor);
  }

  /** The caller owns it. */
  #take(direction: string, stage: number, grain: Grain): Tensor {
    const key = `${direction} ${stage} ${grain.index}`;
    const tensor = this.#arrived.get(key);
    if (!tensor) throw new Error(`internal: ${key} has not arrived`);
    this.#arrived.delete(key);
    return tensor;
  }
}
