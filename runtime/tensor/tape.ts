// Reverse-mode differentiation: a tape of coarse operations, walked back in exactly the reverse of the recorded order.
import { WindlassError } from '#runtime/api/errors.ts';
import { DeferredGradients } from './deferred.ts';
import { GradientStore } from './gradients.ts';
import { adopt, scope } from './scope.ts';
import { Parameter, describe } from './tensor.ts';
import type { Tensor } from './tensor.ts';

/** One recorded operation. */
export interface TapeNode {
  readonly operation: string;
  readonly outputs: readonly Tensor[];
  /** What the backward pass reads; kept until it has run, then let go. */
  readonly saved: readonly Tensor[];
  /** Turns the gradients of the outputs into gradients of the inputs. */
  backward(gradients: GradientStore): void;
  /** Set for what must happen when the pass comes by, whether a gradient has arrived or not. */
  readonly always?: boolean;
  /** Set for a loss that computed its gradients when it ran: the pass starts here without a gradient. */
  readonly startsBackward?: boolean;
}

/** Gradients of the wanted leaves, and those of parameters that are still to be computed. */
export interface InputGradients {
  readonly gradients: (Tensor | undefined)[];
  readonly weights: DeferredGradients;
}

let active: Tape | undefined;

export class Tape {
  /** Tokens per sequence of everything recorded: sums over tokens take their spans from it. */
  readonly length: number;
  readonly #nodes: TapeNode[] = [];
  /** Tensors that follow from a parameter or a leaf. */
  readonly #tracked: WeakSet<Tensor>;

  constructor(options: { length: number }, tracked = new WeakSet<Tensor>()) {
    this.length = options.length;
    this.#tracked = tracked;
  }

  /** A tape for a recomputed part of what this one recorded. */
  fork(): Tape {
    return new Tape(this, this.#tracked);
  }

  /** Runs `fn` with this tape recording. Synchronous, as a scope is. */
  record<T>(fn: () => T): T {
    return withTape(this, fn);
  }

  /** Whether a gradient of `tensor` is wanted: it is a parameter, a leaf, or follows from one. */
  tracks(tensor: Tensor): boolean {
    return tensor instanceof Parameter || this.#tracked.has(tensor);
  }

  /** Makes `tensor` a leaf whose gradient is wanted. */
  track(tensor: Tensor): void {
    this.#tracked.add(tensor);
  }

  push(node: TapeNode): void {
    for (const tensor of node.saved) tensor.retain();
    for (const tensor of node.outputs) this.#tracked.add(tensor);
    this.#nodes.push(node);
  }

  /**
   * Computes gradients from `root` back and empties the tape. Each parameter that was used gets its gradient in `grad`, overwriting what was there.
   * A loss that brings its own gradients takes no `gradient`; any other root needs one of its shape. Returns the gradients of the
   * leaves in `wanted`, under the current scope; undefined where `root` does not depend on the leaf.
   */
  backward(root: Tensor, gradient?: Tensor, wanted: readonly Tensor[] = []): (Tensor | undefined)[] {
    return this.#backward(root, gradient, wanted);
  }

  /**
   * `backward` that leaves the gradients of linear weights, embeddings and biases, with what they need, for `weights.run()`: the same bits.
   * Norms give theirs at once, because one kernel computes them with the gradient of the input.
   */
  backwardInputs(root: Tensor, gradient?: Tensor, wanted: readonly Tensor[] = []): InputGradients {
    const weights = new DeferredGradients();
    try {
      return { gradients: this.#backward(root, gradient, wanted, weights), weights };
    } catch (error) {
      weights[Symbol.dispose]();
      throw error;
    }
  }

  #backward(
    root: Tensor,
    gradient: Tensor | undefined,
    wanted: readonly Tensor[],
    later?: DeferredGradients,
  ): (Tensor | undefined)[] {
    const maker = this.#nodes.findLast((node) => node.outputs.includes(root));
    if (!maker) throw new WindlassError('WL_OP_INVALID', `tensor ${describe(root)} was not recorded on this tape`);
    if (maker.startsBackward ? gradient : !gradient) {
      const needed = maker.startsBackward ? 'brings its own gradient and takes none' : 'needs a gradient to start with';
      throw new WindlassError('WL_OP_INVALID', `backward from ${describe(root)}: it ${needed}`);
    }
    const store = new GradientStore((tensor) => this.tracks(tensor), later);
    try {
      if (gradient) store.give(root, gradient);
      this.walkBack(store, maker);
      return wanted.map((leaf) => {
        const found = store.take(leaf);
        return found && adopt(found);
      });
    } finally {
      store.clear();
      this.clear();
    }
  }

  /** Walks back over all nodes with the gradients in `store` and those of the loss `start`, freeing activations and gradients behind itself. */
  walkBack(store: GradientStore, start?: TapeNode): void {
    withTape(undefined, () => {
      for (let node = this.#nodes.pop(); node; node = this.#nodes.pop()) this.#step(node, store, node === start);
    });
  }

  /** Lets go of everything recorded without computing gradients. */
  clear(): void {
    for (const node of this.#nodes.splice(0)) letGo(node.saved);
  }

  [Symbol.dispose](): void {
    this.clear();
  }

  #step(node: TapeNode, store: GradientStore, isStart: boolean): void {
    try {
      const isReached = isStart || node.always === true || node.outputs.some((output) => store.of(output) !== undefined);
      if (isReached) scope(() => node.backward(store));
    } finally {
      for (const output of node.outputs) store.drop(output);
      letGo(node.saved);
    }
  }
}

function letGo(tensors: readonly Tensor[]): void {
  for (const tensor of tensors) tensor.release();
}

function withTape<T>(tape: Tape | undefined, fn: () => T): T {
  const outer = active;
  active = tape;
  try {
    return fn();
  } finally {
    active = outer;
  }
}

/** The tape that records an operation on these inputs: the active one, if it wants the gradient of any of them. */
export function recordingTape(...inputs: readonly (Tensor | undefined)[]): Tape | undefined {
  return active && inputs.some((input) => input && active?.tracks(input)) ? active : undefined;
}

/** The tape that records now. */
export function activeTape(): Tape | undefined {
  return active;
}

/** Runs `fn` with nothing recorded. */
export function withoutTape<T>(fn: () => T): T {
  return withTape(undefined, fn);
}
