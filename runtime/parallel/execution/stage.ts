// Forward and backward passes of one stage of the model over grains; what a stage keeps of a grain lives from one to the other.
import { contiguous, ForwardPass } from '#runtime/model/main.ts';
import type { Layers, Model, Recompute, ResidualStream } from '#runtime/model/main.ts';
import { add, keep, scope, sum, Tape, tensor, withPrecision } from '#runtime/tensor/main.ts';
import type { DeferredGradients, Precision, Tensor } from '#runtime/tensor/main.ts';
import type { Grain } from './grains.ts';
import type { GradientReducer } from './gradient-reducer.ts';
import type { ComputeObserver } from './observer.ts';
import type { Unit } from './unit.ts';
import type { Weights } from './weight-slots.ts';

/** What all stages of a rank share. */
export interface StageContext {
  readonly model: Model;
  readonly layers: Layers;
  readonly weights: Weights;
  readonly reducer: GradientReducer;
  /** Makes the gradients of one grain whole within the tensor group, before they go into the sum. */
  readonly finishGradient: (flat: Tensor, replicatedSize: number, name: string) => void;
  readonly length: number;
  readonly seed: number;
  readonly recompute: Recompute | ((layer: number) => Recompute);
  /** What activations are stored in. */
  readonly precision: Precision;
  readonly observer: ComputeObserver | undefined;
}

/** What holds for a whole step. */
export interface StepContext {
  /** Counts from 1. */
  readonly step: number;
  /** One over the tokens that count in the step. */
  readonly weight: number;
}

/** What the executor needs of a stage. */
export type StageWork = Pick<
  Stage,
  | 'isFirst'
  | 'isLast'
  | 'inFlight'
  | 'unshard'
  | 'reshard'
  | 'forward'
  | 'backward'
  | 'backwardWeights'
  | 'reduce'
  | 'evaluate'
  | 'clear'
>;

/** How a backward pass goes. */
export interface BackwardWay {
  /** Whether the gradients of weights are computed in it or wait for `backwardWeights`. */
  readonly weights: 'now' | 'later';
  /** Whether each unit's gradients are reduced as soon as they are whole. */
  readonly reduces: boolean;
}

interface Held {
  readonly tape: Tape;
  readonly pass: ForwardPass;
  /** What came from the stage before. */
  readonly input: Tensor | undefined;
  /** What the backward pass starts from: the output, or, in the last stage, the stream that the loss is computed from. */
  readonly output: Tensor | undefined;
  readonly stream: ResidualStream | undefined;
}

export class Stage {
  readonly isFirst: boolean;
  readonly isLast: boolean;
  readonly #context: StageContext;
  readonly #units: readonly Unit[];
  readonly #held = new Map<number, Held>();
  /** Whether a unit's gradients are whole once the backward pass has come by. */
  #closesUnits = true;
  /** Whether a unit's gradients are reduced as soon as they are whole. */
  #reducesUnits = false;
  readonly #deferred = new Map<number, DeferredGradients>();

  /** `units`: a run of consecutive ones. */
  constructor(context: StageContext, units: readonly Unit[]) {
    this.#context = context;
    this.#units = units;
    this.isFirst = units[0]?.index === 0;
    this.isLast = units.at(-1)?.index === context.model.config.layers + 1;
  }

  /** Grains whose activations are kept: until the gradients of weights have been computed. */
  get inFlight(): number {
    return this.#held.size + this.#deferred.size;
  }

  /** The weights will be used next, by this pass. */
  unshard(pass: 'forward' | 'backward'): void {
    // The head is for the backward pass only, which begins with its forward pass.
    const forward = this.isLast ? this.#units.slice(0, -1) : this.#units;
    this.#context.weights.unshard(pass === 'forward' ? forward : this.#units.toReversed());
  }

  /** The weights will not be used for a while. */
  reshard(): void {
    this.#context.weights.reshard(this.#units);
  }

  /** Reduces gradients that are whole, if no backward pass has done so: those of a grain or, where grains are summed up first, their sum. */
  reduce(isLast: boolean): void {
    for (const unit of this.#units.toReversed()) this.#context.reducer.take(unit, isLast);
  }

  /** Runs forward on `input` [M / share, D], which is consumed. Returns what the next stage needs; the last stage computes its loss later. */
  forward(grain: Grain, step: StepContext, input: Tensor | undefined): Tensor | undefined {
    const { model, layers, length, seed, recompute, reducer } = this.#context;
    reducer.pause();
    const tape = new Tape({ length });
    if (input) tape.track(input);
    const { pass, stream, output } = keep(
      this.#scope(() =>
        tape.record(() => {
          const ids = tensor(model.device, grain.inputs, [grain.inputs.length], 'inputs');
          const dropout = { seed, step: step.step, firstToken: grain.firstToken, length };
          const pass = new ForwardPass(model, ids, contiguous({ length }), {
            dropout,
            recompute,
            layers,
            tokenWeight: step.weight,
          });
          const stream = this.#run(pass, tape, grain, input);
          const output = this.isLast ? undefined : stream.branch ? add(stream.base, stream.branch) : stream.base;
          return { pass, output, stream: this.isLast ? stream : undefined };
        }),
      ),
    );
    this.#held.set(grain.index, { tape, pass, input, output, stream });
    return output;
  }

  /**
   * Runs backward from `gradient` of the output, or from the loss. Returns the gradient of the input, and in the last stage the sum of the
   * losses, [1]; the caller owns both.
   */
  backward(
    grain: Grain,
    step: StepContext,
    gradient: Tensor | undefined,
    { weights, reduces }: BackwardWay,
  ): { input: Tensor | undefined; loss: Tensor | undefined } {
    const held = this.#held.get(grain.index);
    if (!held) throw new Error(`internal: backward of grain ${grain.index} without forward`);
    this.#held.delete(grain.index);
    const { tape, input } = held;
    this.#closesUnits = weights === 'now';
    this.#reducesUnits = reduces;
    try {
      return keep(
        this.#scope(() => {
          const losses = held.stream ? this.#lossOf(held, held.stream, grain, step) : undefined;
          const root = losses ?? held.output;
          if (!root) throw new Error('internal: a stage without output');
          const wanted = input ? [input] : [];
          const [inputGradient] =
            weights === 'now' ? tape.backward(root, gradient, wanted) : this.#backwardInputs(grain, tape, root, gradient, wanted);
          return { input: inputGradient, loss: losses && sum(losses) };
        }),
      );
    } finally {
      tape.clear();
      for (const tensor of [input, held.output, held.stream?.base, held.stream?.branch]) tensor?.dispose();
    }
  }

  /** The gradients of weights that `backward` left for later. */
  backwardWeights(grain: Grain, reduces: boolean): void {
    const deferred = this.#deferred.get(grain.index);
    if (!deferred) throw new Error(`internal: no weight gradients of grain ${grain.index} are waiting`);
    this.#deferred.delete(grain.index);
    for (const { members } of this.#units) for (const { gradients } of members) gradients.open(grain.index);
    deferred.run();
    deferred[Symbol.dispose]();
    this.#reducesUnits = reduces;
    for (const unit of this.#units.toReversed()) this.#close(unit, grain);
  }

  /** Losses without gradients, [M], of the last stage; what the next stage needs of the others. */
  evaluate(grain: Pick<Grain, 'inputs' | 'targets'>, input: Tensor | undefined): Tensor {
    const { model, layers, length, weights } = this.#context;
    return keep(
      this.#scope(() => {
        const ids = tensor(model.device, grain.inputs, [grain.inputs.length], 'inputs');
        const pass = new ForwardPass(model, ids, contiguous({ length }), { layers });
        const stream = this.#run(pass, undefined, undefined, input);
        if (!this.isLast) return stream.branch ? add(stream.base, stream.branch) : stream.base;
        const head = this.#units.at(-1)!;
        weights.use(head);
        const targets = tensor(model.device, grain.targets, [grain.targets.length], 'targets');
        const losses = pass.losses(pass.finish(stream), targets, 1);
        weights.done(head);
        return losses;
      }),
    );
  }

  /** Lets go of everything that a step left behind when it failed. */
  clear(): void {
    for (const { tape, input, output, stream } of this.#held.values()) {
      tape.clear();
      for (const tensor of [input, output, stream?.base, stream?.branch]) tensor?.dispose();
    }
    for (const deferred of this.#deferred.values()) deferred[Symbol.dispose]();
    this.#held.clear();
    this.#deferred.clear();
  }

  #scope<T>(fn: () => T): T {
    return withPrecision(this.#context.precision, () => scope(fn));
  }

  #run(pass: ForwardPass, tape: Tape | undefined, grain: Grain | undefined, input: Tensor | undefined): ResidualStream {
    let stream: ResidualStream | undefined = input && { base: input };
    for (const [at, unit] of this.#units.entries()) {
      if (unit.index === this.#context.model.config.layers + 1) break;
      const entering = stream;
      stream = this.#with(at, tape, grain, () => (entering ? pass.block(unit.index - 1, entering) : pass.embed()));
    }
    if (!stream) throw new Error('internal: a stage without units');
    return stream;
  }

  /**
   * Final norm, head and loss, recorded right before the backward pass: their gradients are as large as the vocabulary. That of the head comes
   * with the loss.
   */
  #lossOf({ tape, pass }: Held, stream: ResidualStream, grain: Grain, step: StepContext): Tensor {
    for (const { gradients } of this.#units.at(-1)!.members) gradients.open(grain.index);
    return tape.record(() =>
      this.#with(this.#units.length - 1, tape, grain, () => {
        const targets = tensor(this.#context.model.device, grain.targets, [grain.targets.length], 'targets');
        return pass.losses(pass.finish(stream), targets, step.weight);
      }),
    );
  }

  /** Runs `fn` with the weights of a unit at hand, now and when the backward pass comes by. */
  #with<T>(at: number, tape: Tape | undefined, grain: Grain | undefined, fn: () => T): T {
    const { weights, observer } = this.#context;
    const unit = this.#units[at]!;
    weights.use(unit);
    // After the head, which is the last one, its backward pass begins.
    const turns = this.isLast && at === this.#units.length - 1;
    weights.prefetch(this.#units[turns ? at - 1 : at + 1]);
    if (!tape || !grain) {
      const result = fn();
      weights.done(unit);
      return result;
    }
    tape.push(
      passing('end of unit', () => {
        observer?.end();
        weights.done(unit);
        if (this.#closesUnits) this.#close(unit, grain);
      }),
    );
    observer?.begin({ unit, pass: 'forward' });
    const result = fn();
    observer?.end();
    tape.push(
      passing('begin of unit', () => {
        weights.use(unit);
        weights.prefetch(this.#units[at - 1]);
        for (const { gradients } of unit.members) gradients.open(grain.index);
        observer?.begin({ unit, pass: 'backward' });
      }),
    );
    weights.done(unit);
    return result;
  }

  #backwardInputs(
    grain: Grain,
    tape: Tape,
    root: Tensor,
    gradient: Tensor | undefined,
    wanted: readonly Tensor[],
  ): (Tensor | undefined)[] {
    const { gradients, weights } = tape.backwardInputs(root, gradient, wanted);
    this.#deferred.set(grain.index, weights);
    return gradients;
  }

  #close(unit: Unit, grain: Grain): void {
    for (const { gradients, state } of unit.members) {
      const { replicatedSize, name } = state.layout;
      gradients.close(grain.index, (flat) => this.#context.finishGradient(flat, replicatedSize, name));
    }
    if (this.#reducesUnits) this.#context.reducer.take(unit, grain.isLast);
  }
}

/** A node of the tape that only marks a place. */
function passing(operation: string, backward: () => void) {
  return { operation, outputs: [], saved: [], always: true, backward };
}
