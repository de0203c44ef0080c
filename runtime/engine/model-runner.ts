// Runs the steps of the engine on a model: one forward pass over all chunks, logits only where they are needed, one draw per sequence.
import { ForwardPass, logits, paged } from '#runtime/model/main.ts';
import type { Model, ResidualStream } from '#runtime/model/main.ts';
import {
  cacheHeadBytes,
  emptyCache,
  gatherLogprobs,
  gatherRows,
  keep,
  sampleTokens,
  scope,
  tensor,
  topK,
} from '#runtime/tensor/main.ts';
import type { CacheType, PagedCache, Tensor } from '#runtime/tensor/main.ts';
import type { ScoredToken } from './request.ts';
import type { Runner, SlicedStep, Work, WorkResult } from './runner.ts';
import { layOutSampling, layOutStep, placeOf } from './step-inputs.ts';
import type { Draw, StepInputs } from './step-inputs.ts';

export interface CacheShape {
  readonly blocks: number;
  /** Tokens per block. */
  readonly blockSize: number;
  /** Of keys and values; f32 if absent: what is generated is then what the trainer computes, bit for bit. */
  readonly cacheType?: CacheType | undefined;
}

/** Rows whose logits exist at the same time while a prompt is scored. */
const scoredRowsAtOnce = 64;

/**
 * Owns the key-value cache of a model; the model stays the caller's. What a row computes depends on its tokens and positions alone: not
 * on the other rows of the step, on the cut into chunks, or on which blocks hold the keys.
 */
export class ModelRunner implements Runner {
  readonly blocks: number;
  readonly blockSize: number;
  readonly cacheType: CacheType;
  readonly blockBytes: number;
  readonly #model: Model;
  readonly #caches: readonly PagedCache[];

  /** Throws WL_OUT_OF_MEMORY. */
  constructor(model: Model, { blocks, blockSize, cacheType = 'f32' }: CacheShape) {
    const { layers, kvHeads, headSize } = model.config;
    const shape = { type: cacheType, pages: blocks, pageSize: blockSize, kvHeads, headSize };
    this.blocks = blocks;
    this.blockSize = blockSize;
    this.cacheType = cacheType;
    this.blockBytes = blockSize * cacheBytesPerToken(model, cacheType);
    this.#model = model;
    this.#caches = keep(
      scope(() => Array.from({ length: layers }, (_, layer) => emptyCache(model.device, shape, `layer ${layer}`))),
    );
  }

  async run(work: readonly Work[]): Promise<readonly WorkResult[]> {
    const step = this.begin(work);
    return (await step.advance(step.layersLeft))!;
  }

  begin(work: readonly Work[]): SlicedStep {
    const inputs = layOutStep(work, this.blockSize);
    const { layers } = this.#model.config;
    let done = 0;
    let stream: ResidualStream | undefined;
    const close = () => {
      stream?.base.dispose();
      stream?.branch?.dispose();
      stream = undefined;
    };
    return {
      get layersLeft() {
        return layers - done;
      },
      advance: async (count) => {
        const end = done + count;
        const results = scope(() => {
          const pass = this.#pass(inputs);
          let next = stream ?? pass.embed();
          for (; done < end; done += 1) next = pass.block(done, next);
          const isLast = end === layers;
          const hidden = isLast ? pass.finish(next) : undefined;
          if (!isLast) keep(next);
          close();
          // Also where nothing is read: a step is over when it has run, and whoever comes then is in the next one.
          if (!hidden) {
            stream = next;
            return this.#model.device.sync().then(() => undefined);
          }
          return Promise.all([this.#draw(hidden, inputs, work), this.#score(hidden, inputs, work), this.#model.device.sync()]);
        });
        const read = await results;
        return read && resultsOf(read, inputs, work);
      },
      close,
    };
  }

  close(): void {
    for (const { keys, values } of this.#caches) {
      keys.dispose();
      values.dispose();
    }
  }

  #integers(data: Int32Array, shape: readonly number[] = [data.length]): Tensor {
    return tensor(this.#model.device, data, shape, 'step input');
  }

  /** The forward pass of all rows, whose keys and values go to the cache. */
  #pass(inputs: StepInputs): ForwardPass {
    const { ids, positions, slots, pages, pagesWidth, sequences } = inputs;
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

  async #draw(hidden: Tensor, { draws }: StepInputs, work: readonly Work[]): Promise<ScoredToken[]> {
    if (draws.length === 0) return [];
    const rowLogits = this.#logitsOf(
      hidden,
      draws.map(({ row }) => row),
    );
    const sampled = this.#sample(rowLogits, work, draws);
    const counts = draws.map(({ item }) => work[item]!.topLogprobs);
    const ruled = [...draws.keys()].filter((i) => work[draws[i]!.item]!.rules?.changes(placeOf(work, draws[i]!)));
    const reads = [
      sampled.ids.readIntegers(),
      sampled.logprobs.read(),
      this.#readTop(rowLogits, counts),
      this.#redraw(rowLogits, ruled, work, draws),
    ] as const;
    const [ids, logprobs, top, redrawn] = await Promise.all(reads);
    for (const [i, row] of ruled.entries()) {
      ids[row] = redrawn.ids[i]!;
      logprobs[row] = redrawn.logprobs[i]!;
    }
    return draws.map((_, i) => ({ id: ids[i]!, logprob: logprobs[i]!, top: top[i]! }));
  }

  #sample(rowLogits: Tensor, work: readonly Work[], draws: readonly Draw[]): { readonly ids: Tensor; readonly logprobs: Tensor } {
    const columns = layOutSampling(work, draws);
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
  async #redraw(rowLogits: Tensor, rows: readonly number[], work: readonly Work[], draws: readonly Draw[]): Promise<Redrawn> {
    if (rows.length === 0) return { ids: new Int32Array(0), logprobs: new Float32Array(0) };
    const given = keep(gatherRows(rowLogits, this.#integers(Int32Array.from(rows))));
    const redrawn = rows.map((row) => draws[row]!);
    try {
      const changed = await given.read();
      for (const [i, { item, assumed }] of redrawn.entries()) {
        const { chunk, rules } = work[item]!;
        const row = changed.subarray(i * given.columns, (i + 1) * given.columns);
        rules!.apply(row, chunk.sequence.tokens, chunk.drafts.slice(0, assumed));
      }
      const [ids, logprobs] = await scope(() => {
        const ruled = tensor(this.#model.device, changed, given.shape, 'ruled logits');
        const drawn = this.#sample(ruled, work, redrawn).ids;
        return Promise.all([drawn.readIntegers(), gatherLogprobs(given, drawn).read()]);
      });
      return { ids, logprobs };
    } finally {
      given.dispose();
    }
  }

  async #score(hidden: Tensor, inputs: StepInputs, work: readonly Work[]): Promise<ScoredToken[]> {
    const parts: Promise<ScoredToken[]>[] = [];
    for (let first = 0; first < inputs.scores.length; first += scoredRowsAtOnce) {
      const wanted = inputs.scores.slice(first, first + scoredRowsAtOnce);
      parts.push(scope(() => this.#scoreRows(hidden, wanted, work)));
    }
    return (await Promise.all(parts)).flat();
  }

  async #scoreRows(hidden: Tensor, wanted: StepInputs['scores'], work: readonly Work[]): Promise<ScoredToken[]> {
    const rowLogits = this.#logitsOf(
      hidden,
      wanted.map(({ row }) => row),
    );
    const logprobs = gatherLogprobs(rowLogits, this.#integers(Int32Array.from(wanted, ({ id }) => id)));
    const counts = wanted.map(({ item }) => work[item]!.promptLogprobs ?? 0);
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

function resultsOf(
  [drawn, scored]: readonly [readonly ScoredToken[], readonly ScoredToken[], unknown],
  inputs: StepInputs,
  work: readonly Work[],
): WorkResult[] {
  const tokens = Map.groupBy(drawn.entries(), ([i]) => inputs.draws[i]!.item);
  const prompts = Map.groupBy(scored.entries(), ([i]) => inputs.scores[i]!.item);
  return work.map((_, item) => {
    const drawnHere = tokens.get(item)?.map(([, token]) => token);
    const prompt = prompts.get(item)?.map(([, score]) => score);
    return { ...(drawnHere ? { tokens: drawnHere } : {}), ...(prompt ? { prompt } : {}) };
  });
}

interface Redrawn {
  readonly ids: Int32Array;
  readonly logprobs: Float32Array;
}

/** Bytes that the cache of one token takes, over all layers. */
export function cacheBytesPerToken({ config }: Pick<Model, 'config'>, type: CacheType): number {
  const { layers, kvHeads, headSize } = config;
  return layers * 2 * kvHeads * cacheHeadBytes(type, headSize);
}
