// A rank at work: its part of the model, what it computes in a step, and how weights come and gradients go.
import { modelFrom, wholeLayers } from '#runtime/model/main.ts';
import type { Layers, Model, ModelConfig, Recompute, WeightSource } from '#runtime/model/main.ts';
import { Event, Stream, fill, full, keep, scope, sum, view } from '#runtime/tensor/main.ts';
import type { Communicator, Device, Precision, Tensor } from '#runtime/tensor/main.ts';
import { pipelineSchedule } from '../pipeline-schedule.ts';
import { modelStages } from '../layout-stages.ts';
import { withShards } from '../layout-schedule.ts';
import { withCommunication } from '../schedule/main.ts';
import { attachment } from './attachment.ts';
import type { Attach } from './attachment.ts';
import { collectWeights } from './collect-weights.ts';
import { Executor } from './executor.ts';
import type { PieceState } from './flat-state.ts';
import { GradientBuffers } from './gradient-buffers.ts';
import { gradientNorm } from './gradient-norm.ts';
import { GradientReducer } from './gradient-reducer.ts';
import { grainNumbers, grainsOf, rowsOfGrain } from './grains.ts';
import type { Batch } from './grains.ts';
import { loadPieces } from './load-weights.ts';
import { lossOfStep } from './loss-of-step.ts';
import type { Mesh } from './mesh.ts';
import type { ComputeObserver } from './observer.ts';
import { openRankModel } from './rank-model.ts';
import type { RankModel } from './rank-model.ts';
import { Stage } from './stage.ts';
import { addsTableGradient } from './table-gradient.ts';
import { tensorLayers } from './tensor-layers.ts';
import { Transfers } from './transfers.ts';
import { GatheredWeights, keptWeights } from './weight-slots.ts';
import type { Weights } from './weight-slots.ts';

export interface ExecutionOptions {
  readonly config: ModelConfig;
  readonly device: Device;
  readonly mesh: Mesh;
  /** `task.pretrain.batch` of the job. */
  readonly batch: { readonly sequences: number; readonly length: number; readonly grains: number };
  readonly seed: number;
  readonly recompute: Recompute | ((layer: number) => Recompute);
  /** What activations are stored in, f32 if absent; with bf16 the products read weights as bf16 too, whose masters stay f32. */
  readonly precision?: Precision | undefined;
  readonly observer?: ComputeObserver | undefined;
}

/** What a step leaves for the optimizer. */
export interface StepGradients {
  /** Sum of the losses of all tokens that count, [1]: the same on all ranks. */
  readonly lossSum: Tensor;
  /** Tokens that count. */
  readonly tokens: number;
  /** Of each piece of `pieces`, over all ranks. */
  readonly gradients: readonly Tensor[];
  /** Norm of the whole gradient, [1]: the same on all ranks. */
  readonly norm: Tensor;
}

export class RankExecution {
  readonly device: Device;
  readonly config: ModelConfig;
  readonly mesh: Mesh;
  /** The pieces of parameters that this rank updates, in the order of `gradients`. */
  readonly pieces: readonly PieceState[];
  readonly #options: ExecutionOptions;
  readonly #rank: RankModel;
  readonly #compute: Stream;
  readonly #gather = Stream.open();
  readonly #reduce = Stream.open();
  readonly #event = new Event();
  readonly #weights: Weights;
  readonly #tied: Communicator | undefined;
  readonly #buffers: GradientBuffers;
  readonly #reducer: GradientReducer;
  readonly #stages: ReadonlyMap<number, Stage>;
  readonly #layers: Layers & Partial<Disposable>;
  readonly #transfers: Transfers;
  readonly #executor: Executor;

  constructor(options: ExecutionOptions) {
    const { config, device, mesh, batch } = options;
    const { parallelism } = mesh.layout;
    this.#options = options;
    this.device = device;
    this.config = config;
    this.mesh = mesh;
    this.#compute = Stream.of(device);
    const schedule = withShards(withCommunication(pipelineSchedule(parallelism, batch.grains)), parallelism);
    const runs = modelStages(config, batch.length, schedule.stages, parallelism.stageLayers);
    this.#buffers = new GradientBuffers(device);
    const { precision = 'f32' } = options;
    const attach = attachment(precision);
    const sums = { buffers: this.#buffers, everyGrain: parallelism.reduceEveryGrain };
    this.#rank = openRankModel({
      config,
      device,
      mesh,
      stages: runs,
      placement: schedule.placement,
      gradients: sums,
      addsTableGradient: addsTableGradient(parallelism, batch.grains),
      attach,
    });
    this.pieces = this.#rank.states.flatMap(({ pieces }) => pieces);
    this.#weights = this.#openWeights(attach);
    this.#tied = this.#rank.tiedRanks && mesh.group(this.#rank.tiedRanks, 'tied');
    this.#reducer = new GradientReducer({
      mesh,
      compute: this.#compute,
      stream: this.#reduce,
      buffers: this.#buffers,
      waitsForAll: parallelism.dataShard > 1 && parallelism.zero === 1,
      tied: this.#tied,
    });
    this.#layers = this.#openLayers();
    const context = {
      model: this.#rank.model,
      layers: this.#layers,
      weights: this.#weights,
      reducer: this.#reducer,
      finishGradient: (flat: Tensor, replicatedSize: number, site: string) => this.#finishGradient(flat, replicatedSize, site),
      length: batch.length,
      seed: options.seed,
      recompute: options.recompute,
      precision,
      observer: options.observer,
    };
    this.#stages = new Map(
      runs.flatMap(([first, end], stage) => {
        if (schedule.placement[stage] !== mesh.at.pipeline) return [];
        const units = Array.from({ length: end - first }, (_, at) => this.#rank.units.get(first + at)!);
        return [[stage, new Stage(context, units)] as const];
      }),
    );
    this.#transfers = new Transfers(mesh, schedule.placement, device, this.#compute);
    this.#executor = new Executor({
      device,
      stages: this.#stages,
      actions: schedule.actions[mesh.at.pipeline] ?? [],
      transfers: this.#transfers,
      placement: schedule.placement,
      share: this.#layers.share,
      precision,
      boundaryShape: [rowsOfGrain(batch) / this.#layers.share, config.hiddenSize],
      observer: options.observer,
    });
  }

  /** Enqueues forward and backward passes of a step (counted from 1) over the own grains, and the sums over all ranks. The caller owns the tensors. */
  async gradients(batch: Batch, step: number): Promise<StepGradients> {
    const tokens = batch.targets.reduce((count, target) => (target < 0 ? count : count + 1), 0);
    const losses: Tensor[] = [];
    const { mesh } = this;
    const { batch: shape } = this.#options;
    const grains = grainsOf(batch, shape, grainNumbers(shape.grains, mesh.layout.parallelism, mesh.at));
    this.#reducer.begin();
    await this.#executor.run(grains, { step, weight: 1 / Math.max(1, tokens) }, (loss) => losses.push(loss));
    const byState = this.#reducer.finish();
    return keep(
      scope(() => {
        const lossSum = losses.length > 0 ? lossOfStep(losses, mesh, this.#compute) : full(this.device, [1], -0, 'loss');
        for (const loss of losses) loss.dispose();
        mesh.pipeline?.allReduce(this.#compute, lossSum, 'sum', 'loss to all stages');
        const gradients = this.#rank.states.flatMap((state) => state.gradients(byState.get(state)!));
        const counted = gradients.filter((_, index) => this.pieces[index]?.counts);
        return { lossSum, tokens, gradients, norm: gradientNorm(this.device, counted, this.#compute, mesh.model) };
      }),
    );
  }

  /**
   * Losses summed over the tokens of each batch, in nats, without gradients; the same on all ranks. Batches have whole sequences; data ranks
   * take turns at them. All compute equally often, because they gather weights from each other: where there are too few batches in the end,
   * several compute the last one.
   */
  async evaluate(batches: readonly Batch[]): Promise<number[]> {
    const own: [index: number, loss: number][] = [];
    const { dataRanks } = this.mesh.layout;
    for (let first = 0; first < batches.length; first += dataRanks) {
      const index = Math.min(first + this.mesh.at.data, batches.length - 1);
      const losses = this.#executor.evaluate(batches[index]!);
      if (!losses) continue;
      const [loss = NaN] = await scope(() => sum(losses).read());
      losses.dispose();
      own.push([index, loss]);
    }
    const { exchange } = this.mesh;
    const all = exchange ? await exchange.allGather(JSON.stringify(own)) : [JSON.stringify(own)];
    const sums = all.flatMap((text) => JSON.parse(text) as [number, number | null][]);
    const byIndex = new Map(sums.map(([index, loss]) => [index, loss ?? NaN]));
    return batches.map((_, index) => byIndex.get(index) ?? NaN);
  }

  /** Takes the weights of `source`, the same on all ranks, and begins with moments of zero. */
  async load(source: Pick<WeightSource, 'read'>): Promise<void> {
    await loadPieces(this.pieces, source);
    for (const { first, second } of this.pieces) for (const moment of [first, second]) fill(moment, 0);
    this.weightsChanged();
  }

  /** The whole model on rank 0, nothing on other ranks, until it is disposed of. All ranks call it. */
  async wholeModel(): Promise<(Disposable & { readonly model: Model }) | undefined> {
    const { exchange, collector } = this.mesh;
    if (!exchange || !collector) return { model: this.#rank.model, [Symbol.dispose]() {} };
    const answersFor = this.pieces.filter(({ replica }) => replica === 0);
    const values = await collectWeights(answersFor, { device: this.device, compute: this.#compute, world: collector, exchange });
    if (!values) return undefined;
    const model = await modelFrom({ config: this.config, read: async (name) => values.get(name)! }, this.device);
    return { model, [Symbol.dispose]: () => model.dispose() };
  }

  /** To be called when the weights of `pieces` have changed: brings them to whoever computes with them. */
  weightsChanged(): void {
    this.#weights.forget();
    this.#event.mark(this.#compute);
    for (const state of this.#rank.states) {
      const { whole, shard, current } = state;
      if (whole && this.mesh.shardGather) {
        this.#gather.after(this.#event);
        this.mesh.shardGather.allGather(this.#gather, shard, whole, `weights of ${state.layout.name}`);
        current.mark(this.#gather);
      } else current.mark(this.#compute);
    }
    for (const { members } of this.#rank.units.values())
      for (const { parameters } of members) for (const { parameter } of parameters) parameter.changed();
  }

  /** Resolves when all that was enqueued so far has run. */
  async settled(): Promise<void> {
    await Promise.all([this.#compute, this.#gather, this.#reduce].map((stream) => stream.sync()));
  }

  /** Bytes of activations, weights and gradients that this rank has sent to others so far. */
  get bytesSent(): number {
    const { shardGather, near, shardReduce, replicate, tensor: tensorGroup } = this.mesh;
    const groups = [shardGather, near, shardReduce, replicate, tensorGroup, this.#tied];
    return groups.reduce((sum, group) => sum + (group?.bytesSent ?? 0), this.#transfers.bytesSent);
  }

  [Symbol.dispose](): void {
    this.#weights[Symbol.dispose]();
    this.#transfers[Symbol.dispose]();
    this.#layers[Symbol.dispose]?.();
    this.#reducer[Symbol.dispose]();
    this.#rank[Symbol.dispose]();
    this.#buffers[Symbol.dispose]();
    this.#gather[Symbol.dispose]();
    this.#reduce[Symbol.dispose]();
    this.#event[Symbol.dispose]();
  }

  #openLayers(): Layers & Partial<Disposable> {
    const { tensor: group } = this.mesh;
    if (!group) return wholeLayers;
    return tensorLayers({
      group,
      stream: this.#compute,
      config: this.config,
      length: this.#options.batch.length,
      isSequenceParallel: this.mesh.layout.parallelism.sequenceParallel,
    });
  }

  #openWeights(attach: Attach): Weights {
    const { shardGather, near, layout } = this.mesh;
    if (!shardGather || layout.parallelism.zero < 3) return keptWeights(this.#compute);
    const units = [...this.#rank.units.values()];
    const sizes = units.map(({ members }) => members.reduce((sum, { state }) => sum + state.layout.size, 0));
    return new GatheredWeights({
      device: this.device,
      compute: this.#compute,
      stream: this.#gather,
      shardGroup: shardGather,
      nearGroup: near,
      attach,
      slots: layout.parallelism.reshardAfterForward ? Math.min(2, units.length) : units.length,
      slotSize: Math.max(...sizes),
    });
  }

  /** With sequence parallelism each rank has summed over its own tokens what all ranks hold: the sums are added up. */
  #finishGradient(flat: Tensor, replicatedSize: number, site: string): void {
    const { tensor: group, layout } = this.mesh;
    if (!group || !layout.parallelism.sequenceParallel || replicatedSize === 0) return;
    scope(() => group.allReduce(this.#compute, view(flat, 0, [replicatedSize]), 'sum', `gradient of ${site} over positions`));
  }
}
