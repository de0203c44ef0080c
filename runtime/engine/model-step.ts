// One step on a model: a forward pass over all chunks, logits only where they are needed, one draw per sequence; at one go or in slices.
import { ForwardPass, logits, paged } from '#runtime/model/main.ts';
import type { Model, ResidualStream } from '#runtime/model/main.ts';
import { gatherLogprobs, gatherRows, keep, sampleTokens, scope, tensor, topK } from '#runtime/tensor/main.ts';
import type { PagedCache, Tensor } from '#runtime/tensor/main.ts';
import type { ScoredToken } from './request.ts';
import type { Step, Work, WorkResult } from './runner.ts';
import { layOutSampling, layOutStep, placeOf } from './step-inputs.ts';
import type { Draw, StepInputs } from './step-inputs.ts';

/** Rows whose logits exist at the same time while a prompt is scored; scoring so many counts as a layer. */
const scoredRowsAtOnce = 64;

export class ModelStep implements Step {
  readonly #model: Model;
  readonly #caches: readonly PagedCache[];
  readonly #work: readonly Work[];
  readonly #inputs: StepInputs;
  #passed = 0;
  /** What the layers passed have made of the rows; after all of them, and while prompts are scored, the hidden states. */
  #stream: ResidualStream | undefined;
  #hidden: Tensor | undefined;
  readonly #scored: ScoredToken[] = [];

  constructor(model: Model, caches: readonly PagedCache[], blockSize: number, work: readonly Work[]) {
    this.#model = model;
    this.#caches = caches;
    this.#work = work;
    this.#inputs = layOutStep(work, blockSize);
  }

  get layersLeft(): number {
    const unscored = this.#inputs.scores.length - this.#scored.length;
    return this.#model.config.layers - this.#passed + Math.ceil(unscored / scoredRowsAtOnce);
  }

  async advance(count: number): Promise<readonly WorkResult[] | undefined> {
    const isLast = count >= this.layersLeft;
    const passed = Math.min(count, this.#model.config.layers - this.#passed);
    const [scored, drawn] = await scope(() => {
      const hidden = this.#hidden ?? this.#passLayers(passed);
      if (hidden && !isLast) this.#hidden = keep(hidden);
      // Also where nothing is read: a slice is over when it has run, and whoever comes then is in the next step.
      return Promise.all([
        hidden ? this.#score(hidden, count - passed) : [],
        hidden && isLast ? this.#draw(hidden) : [],
        this.#model.device.sync(),
      ]);
    });
    this.#scored.push(...scored);
    if (!isLast) return undefined;
    this.close();
    return this.#resultsOf(drawn);
  }

  close(): void {
    this.#stream?.base.dispose();
    this.#stream?.branch?.dispose();
    this.#hidden?.dispose();
    this.#stream = undefined;
    this.#hidden = undefined;
  }

  #resultsOf(drawn: readonly ScoredToken[]): WorkResult[] {
    const tokens = Map.groupBy(drawn.entries(), ([i]) => this.#inputs.draws[i]!.item);
    const prompts = Map.groupBy(this.#scored.entries(), ([i]) => this.#inputs.scores[i]!.item);
    return this.#work.map((_, item) => {
      const drawnHere = tokens.get(item)?.map(([, token]) => token);
      const prompt = prompts.get(item)?.map(([, score]) => score);
      return { ...(drawnHere ? { tokens: drawnHere } : {}), ...(prompt ? { prompt } : {}) };
    });
  }

  #integers(data: Int32Array, shape: readonly number[] = [data.length]): Tensor {
    return tensor(this.#model.device, data, shape, 'step input');
  }

  /** Rows through so many layers more, keys and values to the cache: the hidden states if those were the last. */
  #passLayers(count: number): Tensor | undefined {
    const pass = this.#forward();
    let stream = this.#stream ?? pass.embed();
    for (const end = this.#passed + count; this.#passed < end; this.#passed += 1) stream = pass.block(this.#passed, stream);
    const hidden = this.#passed === this.#model.config.layers ? pass.finish(stream) : undefined;
    if (!hidden) keep(stream);
    this.close();
    if (!hidden) this.#stream = stream;
    return hidden;
  }

  #forward(): ForwardPass {
    const { ids, positions, slots, pages, pagesWidth, sequences } = this.#inputs;
    const count = sequences.length / 3;
    const kv = paged({
      caches: this.#caches,
      positions,
      slots: this.#integers(slots),
      pages: this.#integers(pages, [count, pagesWidth]),
      sequences: this.#integers(sequences, [count, 3]),
    });
    return new ForwardPass(this.#model, this.#integers(ids), kv, {});
  }

  #logitsOf(hidden: Tensor, rows: readonly number[]): Tensor {
    const all = rows.length === hidden.shape[0];
    return logits(this.#model, all ? hidden : gatherRows(hidden, this.#integers(Int32Array.from(rows))));
  }

  async #draw(hidden: Tensor): Promise<ScoredToken[]> {
    const [{ draws }, work] = [this.#inputs, this.#work];
    if (draws.length === 0) return [];
    const rowLogits = this.#logitsOf(
      hidden,
      draws.map(({ row }) => row),
    );
    const sampled = this.#sample(rowLogits, draws);
    const counts = draws.map(({ item }) => work[item]!.topLogprobs);
    const ruled = [...draws.keys()].filter((i) => work[draws[i]!.item]!.rules?.changes(placeOf(work, draws[i]!)));
    const reads = [
      sampled.ids.readIntegers(),
      sampled.logprobs.read(),
      this.#readTop(rowLogits, counts),
      this.#redraw(rowLogits, ruled),
    ] as const;
    const [ids, logprobs, top, redrawn] = await Promise.all(reads);
    for (const [i, row] of ruled.entries()) {
      ids[row] = redrawn.ids[i]!;
      logprobs[row] = redrawn.logprobs[i]!;
    }
    return draws.map((_, i) => ({ id: ids[i]!, logprob: logprobs[i]!, top: top[i]! }));
  }

  #sample(rowLogits: Tensor, draws: readonly Draw[]): { readonly ids: Tensor; readonly logprobs: Tensor } {
    const columns = layOutSampling(this.#work, draws);
    const column = (data: Float32Array | Int32Array) => tensor(this.#model.device, data, [draws.length], 'sampling');
    return sampleTokens(rowLogits, {
      temperature: column(columns.temperature),
      topK: column(columns.topK),
      topP: column(columns.topP),
      minP: column(columns.minP),
      seeds: this.#integers(columns.seeds, [draws.length, 2]),
      positions: column(columns.positions),
    });
  }

  /** Draws the rows whose requests have rules: from logits changed here, with the log-probabilities of those that the model gave. */
  async #redraw(rowLogits: Tensor, rows: readonly number[]): Promise<Redrawn> {
    if (rows.length === 0) return { ids: new Int32Array(0), logprobs: new Float32Array(0) };
    const given = keep(gatherRows(rowLogits, this.#integers(Int32Array.from(rows))));
    const redrawn = rows.map((row) => this.#inputs.draws[row]!);
    try {
      const changed = await given.read();
      for (const [i, { item, assumed }] of redrawn.entries()) {
        const { chunk, rules } = this.#work[item]!;
        const row = changed.subarray(i * given.columns, (i + 1) * given.columns);
        rules!.apply(row, chunk.sequence.tokens, chunk.drafts.slice(0, assumed));
      }
      const [ids, logprobs] = await scope(() => {
        const ruled = tensor(this.#model.device, changed, given.shape, 'ruled logits');
        const drawn = this.#sample(ruled, redrawn).ids;
        return Promise.all([drawn.readIntegers(), gatherLogprobs(given, drawn).read()]);
      });
      return { ids, logprobs };
    } finally {
      given.dispose();
    }
  }

  /** So many parts more of the prompt tokens that are to be scored. */
  async #score(hidden: Tensor, parts: number): Promise<ScoredToken[]> {
    const { scores } = this.#inputs;
    const end = Math.min(scores.length, this.#scored.length + parts * scoredRowsAtOnce);
    const read: Promise<ScoredToken[]>[] = [];
    for (let first = this.#scored.length; first < end; first += scoredRowsAtOnce) {
      const wanted = scores.slice(first, Math.min(end, first + scoredRowsAtOnce));
      read.push(scope(() => this.#scoreRows(hidden, wanted)));
    }
    return (await Promise.all(read)).flat();
  }

  async #scoreRows(hidden: Tensor, wanted: StepInputs['scores']): Promise<ScoredToken[]> {
    const rowLogits = this.#logitsOf(
      hidden,
      wanted.map(({ row }) => row),
    );
    const logprobs = gatherLogprobs(rowLogits, this.#integers(Int32Array.from(wanted, ({ id }) => id)));
    const counts = wanted.map(({ item }) => this.#work[item]!.promptLogprobs ?? 0);
    const [values, top] = await Promise.all([logprobs.read(), this.#readTop(rowLogits, counts)]);
    return wanted.map(({ id }, i) => ({ id, logprob: values[i]!, top: top[i]! }));
  }

  /** The most likely tokens of each row, as many as the row wants. */
  async #readTop(rowLogits: Tensor, counts: readonly number[]): Promise<ScoredToken['top'][]> {
    const most = Math.min(Math.max(...counts), rowLogits.columns);
    if (most === 0) return counts.map(() => []);
    const top = topK(rowLogits, most);
    const [ids, logprobs] = await Promise.all([top.ids.readIntegers(), top.logprobs.read()]);
    return counts.map((count, row) =>
      Array.from({ length: Math.min(count, most) }, (_, k) => ({ id: ids[row * most + k]!, logprob: logprobs[row * most + k]! })),
    );
  }
}

interface Redrawn {
  readonly ids: Int32Array;
  readonly logprobs: Float32Array;
}
