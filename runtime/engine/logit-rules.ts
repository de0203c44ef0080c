// What a request wants done to the logits before a token is drawn: tokens held back, biases, penalties for repetition.
import type { GenerateRequest } from './request.ts';

/**
 * The rules of one completion, in the order of vLLM: endings before `minTokens`, bias, repetition, then frequency and presence. What they do
 * depends on the tokens before the place alone, so it survives preemption and does not depend on how the tokens were computed.
 */
export class LogitRules {
  readonly #bias: ReadonlyMap<number, number>;
  readonly #presence: number;
  readonly #frequency: number;
  readonly #repetition: number;
  readonly #minTokens: number;
  readonly #endings: readonly number[];
  readonly #promptLength: number;
  /** Times that a token was generated, and tokens of the prompt, of the first `#counted` tokens. */
  readonly #generated = new Map<number, number>();
  readonly #prompt = new Set<number>();
  #counted = 0;

  /** `endings`: tokens that end the completion. */
  constructor(request: GenerateRequest, endings: Iterable<number> = []) {
    this.#bias = request.logitBias ?? new Map<number, number>();
    this.#presence = request.presencePenalty ?? 0;
    this.#frequency = request.frequencyPenalty ?? 0;
    this.#repetition = request.repetitionPenalty ?? 1;
    this.#minTokens = request.minTokens ?? 0;
    this.#endings = [...endings];
    this.#promptLength = request.prompt.length;
  }

  /** Whether the token after `length` tokens is drawn from other logits than the model's. */
  changes(length: number): boolean {
    return (
      this.#bias.size > 0 ||
      this.#presence !== 0 ||
      this.#frequency !== 0 ||
      this.#repetition !== 1 ||
      (this.#endings.length > 0 && length - this.#promptLength < this.#minTokens)
    );
  }

  /** Changes the logits of the token that follows `known` and then `assumed`. `known` only ever grows from call to call. */
  apply(logits: Float32Array, known: readonly number[], assumed: readonly number[] = []): void {
    this.#count(known);
    if (known.length + assumed.length - this.#promptLength < this.#minTokens)
      for (const id of this.#endings) logits[id] = -Infinity;
    for (const [id, bias] of this.#bias) logits[id]! += bias;
    const generated = withAssumed(this.#generated, assumed);
    if (this.#repetition !== 1) {
      for (const id of this.#prompt) this.#punish(logits, id);
      for (const id of generated.keys()) if (!this.#prompt.has(id)) this.#punish(logits, id);
    }
    if (this.#presence === 0 && this.#frequency === 0) return;
    for (const [id, times] of generated) logits[id]! -= this.#presence + this.#frequency * times;
  }

  #punish(logits: Float32Array, id: number): void {
    const logit = logits[id]!;
    logits[id] = logit > 0 ? logit / this.#repetition : logit * this.#repetition;
  }

  #count(known: readonly number[]): void {
    for (; this.#counted < known.length; this.#counted += 1) {
      const id = known[this.#counted]!;
      if (this.#counted < this.#promptLength) this.#prompt.add(id);
      else this.#generated.set(id, (this.#generated.get(id) ?? 0) + 1);
    }
  }
}

function withAssumed(generated: ReadonlyMap<number, number>, assumed: readonly number[]): ReadonlyMap<number, number> {
  if (assumed.length === 0) return generated;
  const all = new Map(generated);
  for (const id of assumed) all.set(id, (all.get(id) ?? 0) + 1);
  return all;
}
