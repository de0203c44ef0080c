// The gradients of weights that a backward pass left for later, while it went on with the gradients of its inputs.
import type { Tensor } from './tensor.ts';

type Work = { readonly reads: readonly Tensor[]; readonly compute: () => void };

/** Holds what it needs until it has run or is disposed of. */
export class DeferredGradients {
  readonly #work: Work[] = [];

  /** Takes up work that reads these tensors. */
  add(reads: readonly Tensor[], compute: () => void): void {
    for (const tensor of reads) tensor.retain();
    this.#work.push({ reads, compute });
  }

  /** Computes the gradients in the order in which the pass reached them: the same bits as in the pass itself. A second time does nothing. */
  run(): void {
    for (let work = this.#work.shift(); work; work = this.#work.shift()) {
      try {
        work.compute();
      } finally {
        letGo(work);
      }
    }
  }

  [Symbol.dispose](): void {
    for (const work of this.#work.splice(0)) letGo(work);
  }
}

function letGo({ reads }: Work): void {
  for (const tensor of reads) tensor.release();
}
