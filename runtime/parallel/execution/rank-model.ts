// What a rank holds of a model: its stages, their parameters in flat memory, and who else holds the same.
import { Model, parameterSpecs } from '#runtime/model/main.ts';
import type { ModelConfig, ParameterSpec } from '#runtime/model/main.ts';
import { detachedParameter, Event, unscoped } from '#runtime/tensor/main.ts';
import type { Device, Parameter, Tensor } from '#runtime/tensor/main.ts';
import { ownsInNorm, tensorBox } from '../sharding.ts';
import type { Attach } from './attachment.ts';
import { FlatLayout } from './flat-layout.ts';
import type { FlatEntry } from './flat-layout.ts';
import { FlatState } from './flat-state.ts';
import { AddedGradients, GradientSums } from './gradient-sums.ts';
import type { MemberGradients, SumsOptions } from './gradient-sums.ts';
import type { Mesh } from './mesh.ts';
import type { Unit, UnitMember } from './unit.ts';

/** Runs of units (0: the embedding, then the blocks, last the final norm with the head) by stage. */
type StageUnits = readonly (readonly [first: number, end: number])[];

export interface RankModel {
  readonly model: Model;
  /** By index; those of this rank's stages only. */
  readonly units: ReadonlyMap<number, Unit>;
  /** Each flat run once, in the order of the parameters. */
  readonly states: readonly FlatState[];
  /** The two ranks that hold the token table for its two uses, where they are two and this is one of them. */
  readonly tiedRanks: readonly number[] | undefined;
  [Symbol.dispose](): void;
}

export interface RankModelOptions {
  readonly config: ModelConfig;
  readonly device: Device;
  readonly mesh: Mesh;
  readonly stages: StageUnits;
  /** The pipeline rank of each stage. */
  readonly placement: readonly number[];
  readonly gradients: SumsOptions;
  /** Whether the embedding's gradient of a tied table is added to that of the head. */
  readonly addsTableGradient: boolean;
  readonly attach: Attach;
}

const tableName = 'embedding.tokens';

/** Allocates all of it; values are undefined until loaded. */
export function openRankModel(options: RankModelOptions): RankModel {
  const { config, device, mesh, stages, placement, gradients, attach } = options;
  const { dataShard, zero, tensor } = mesh.layout.parallelism;
  const boxOf = (spec: ParameterSpec) => tensorBox(spec, mesh.at.tensor, tensor);
  const local = (spec: ParameterSpec, name = spec.name) => detachedParameter(device, boxOf(spec).sizes, name);
  const specs = new Map(parameterSpecs(config).map((spec) => [spec.name, spec]));
  const table = specs.get(tableName)!;
  const tiedHead = config.tieEmbeddings ? local(table, 'head') : undefined;
  const model = new Model(config, device, (spec) => local(spec), tiedHead);

  const lastUnit = config.layers + 1;
  const rankOfUnit = (unit: number) => placement[stages.findIndex(([first, end]) => unit >= first && unit < end)] ?? 0;
  const hasOwnTable = rankOfUnit(0) === mesh.at.pipeline;
  const isSplit = tiedHead !== undefined && rankOfUnit(0) !== rankOfUnit(lastUnit);
  const attached: Tensor[] = [];
  const states: FlatState[] = [];
  // States whose weights come one by one are current one by one, others all at once.
  const keepsWhole = dataShard === 1 || zero < 3;
  const events: Event[] = [];
  const units = new Map<number, Unit>();
  const currentOf = () => {
    const [shared] = events;
    if (shared && (dataShard === 1 || !keepsWhole)) return shared;
    const event = new Event();
    events.push(event);
    return event;
  };
  const openState = (name: string, own: readonly ParameterSpec[]) => {
    const layout = new FlatLayout(
      name,
      own.map((spec) => ({ spec, box: boxOf(spec) })),
      dataShard,
    );
    const state = new FlatState(device, layout, {
      shard: mesh.at.shard,
      keepsWhole,
      current: currentOf(),
      counts: ({ entry: { spec } }) => ownsInNorm(spec, mesh.at.tensor) && (spec.name !== tableName || hasOwnTable),
      replica: ({ entry }) =>
        replicaOf(mesh, entry, isSplit && entry.spec.name === tableName ? (hasOwnTable ? 0 : 1) : undefined),
    });
    states.push(state);
    return state;
  };
  const member = (
    state: FlatState,
    parameterOf: (spec: ParameterSpec) => Parameter,
    { isTied = false, addedTo }: { isTied?: boolean; addedTo?: (() => MemberGradients) | undefined } = {},
  ): UnitMember => {
    const parameters = state.layout.entries.map((entry) => ({ parameter: parameterOf(entry.spec), entry }));
    const { whole } = state;
    if (whole) {
      for (const placed of parameters) attached.push(unscoped(() => attach(whole, placed)));
    }
    const sums = addedTo ? new AddedGradients(addedTo, parameters) : new GradientSums(gradients, state.layout, parameters);
    return { state, parameters, gradients: sums, isTied };
  };
  const named = (prefix: string) => [...specs.values()].filter(({ name }) => name === prefix || name.startsWith(`${prefix}.`));
  const headSums = () => units.get(lastUnit)!.members.at(-1)!.gradients;
  const ofModel = ({ name }: ParameterSpec) => model.parameters.get(name)!;
  const membersOf = (unit: number): UnitMember[] => {
    if (unit > 0 && unit < lastUnit) return [member(openState(`block ${unit - 1}`, named(`blocks.${unit - 1}`)), ofModel)];
    const names = unit === 0 ? ['embedding.positions', 'embedding.norm'] : ['finalNorm', 'head'];
    const plain = names.flatMap((name) => (named(name).length > 0 ? [member(openState(name, named(name)), ofModel)] : []));
    if (unit === 0) {
      const addedTo = tiedHead && options.addsTableGradient ? headSums : undefined;
      return [member(openState(tableName, [table]), ofModel, { isTied: isSplit, addedTo }), ...plain];
    }
    if (!tiedHead) return plain;
    const shared = hasOwnTable ? states.find(({ layout }) => layout.name === tableName) : undefined;
    return [...plain, member(shared ?? openState(tableName, [table]), () => tiedHead, { isTied: isSplit })];
  };
  for (let index = 0; index <= lastUnit; index += 1) {
    if (rankOfUnit(index) === mesh.at.pipeline) units.set(index, { index, members: membersOf(index) });
  }
  const holdsTable = hasOwnTable || rankOfUnit(lastUnit) === mesh.at.pipeline;
  const rankAt = (pipeline: number) => mesh.layout.rankOf({ ...mesh.at, pipeline });
  return {
    model,
    units,
    states,
    tiedRanks: isSplit && holdsTable ? [rankAt(rankOfUnit(0)), rankAt(rankOfUnit(lastUnit))] : undefined,
    [Symbol.dispose]() {
      for (const unit of units.values()) for (const { gradients } of unit.members) gradients[Symbol.dispose]();
      for (const parameter of [...model.parameters.values(), tiedHead]) parameter?.detach();
      model.dispose();
      for (const tensor of attached) tensor.dispose();
      for (const each of [...states, ...events]) each[Symbol.dispose]();
    },
  };
}

/** Copies differ in the replica, in the tensor rank where its group does not cut the parameter, and in the use of a tied table. */
function replicaOf(mesh: Mesh, { isReplicated }: FlatEntry, use: number | undefined): { replica: number; replicas: number } {
  const { dataReplicate, tensor } = mesh.layout.parallelism;
  const { replicate, tensor: tensorRank } = mesh.at;
  const copies = isReplicated ? tensor : 1;
  const inUse = replicate * copies + (isReplicated ? tensorRank : 0);
  const replicas = dataReplicate * copies;
  return use === undefined ? { replica: inUse, replicas } : { replica: use * replicas + inUse, replicas: 2 * replicas };
}
