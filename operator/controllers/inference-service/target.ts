// Which model an InferenceService shall serve, and where its files are.
import { storage } from '#crds/names.ts';
import type { InferenceService, Model, ModelVersion } from '#crds/v1alpha1/index.ts';

/** A model that can be served. */
export interface Target {
  /** Name of the ModelVersion, or the path or address. */
  id: string;
  /** Folder in the pod; absent for what is fetched from a server. */
  folder: string | undefined;
  /** Folder on a server; it has a digest. */
  remote?: RemoteFolder;
  /** Claim that holds the folder; absent for a path of the machine. */
  claimName: string | undefined;
  /** sha256 in hexadecimal, as the version says. */
  digest: string | undefined;
  /** Name that clients ask for. */
  servedName: string;
  /** Another one that is answered too: who went back to a version is still asked for its model. */
  alias?: string;
}

interface RemoteFolder {
  uri: string;
  secretRef: { name: string } | undefined;
}

export type Resolution = { target: Target } | { waitsFor: { reason: string; message: string } };

/** Finds what spec.model means now. `versions` are those of the namespace. */
export function resolveTarget(
  service: InferenceService,
  model: Model | undefined,
  versions: readonly ModelVersion[],
): Resolution {
  const wanted = service.spec.model;
  if (wanted.uri !== undefined && isRemote(wanted.uri)) {
    const { uri, digest, secretRef } = wanted;
    // A query may hold a signature, which is nobody's business.
    const id = uri.replace(/\?.*$/, '');
    return { target: { ...fetched(uri, digest, secretRef), id, servedName: service.metadata.name } };
  }
  if (wanted.uri !== undefined) {
    const folder = wanted.uri.replace(/^file:\/\//, '');
    return { target: { id: folder, folder, claimName: undefined, digest: undefined, servedName: service.metadata.name } };
  }
  const alive = versions.filter((version) => version.metadata.deletionTimestamp === undefined);
  if (wanted.version !== undefined) {
    const version = alive.find((candidate) => candidate.metadata.name === wanted.version);
    if (version) return { target: { ...targetOf(version, version.metadata.name), alias: version.spec.model } };
    const message = `ModelVersion ${wanted.version} does not exist; publish it, or name another one in spec.model`;
    return { waitsFor: { reason: 'ModelNotReady', message } };
  }
  if (wanted.fromTrainingJob !== undefined) return fromTrainingJob(service, wanted.fromTrainingJob, alive);
  const newest = alive
    .filter((version) => version.spec.model === wanted.name)
    .reduce<ModelVersion | undefined>((best, next) => (best && best.spec.number > next.spec.number ? best : next), undefined);
  if (newest) return { target: targetOf(newest, wanted.name) };
  const state = model ? 'has no version yet' : 'does not exist yet';
  const message = `Model ${wanted.name} ${state}; it is served as soon as a TrainingJob with output.model: ${wanted.name} has published one`;
  return { waitsFor: { reason: 'ModelNotReady', message } };
}

/** What a job has published last, or the first of it that was served. It is asked for by the name of its Model. */
function fromTrainingJob(
  service: InferenceService,
  { name, follow }: NonNullable<InferenceService['spec']['model']['fromTrainingJob']>,
  versions: readonly ModelVersion[],
): Resolution {
  const published = versions.filter(({ spec }) => spec.source?.job === name);
  const pinned = follow ? undefined : service.status?.model?.pinned;
  const version =
    published.find(({ metadata }) => metadata.name === pinned) ??
    published.toSorted((a, b) => madeAt(b).localeCompare(madeAt(a)) || b.spec.number - a.spec.number)[0];
  if (version) return { target: targetOf(version, version.spec.model) };
  const message = `TrainingJob ${name} has published no version yet; it is served as soon as the job has, which needs output.model`;
  return { waitsFor: { reason: 'ModelNotReady', message } };
}

const madeAt = ({ metadata }: ModelVersion): string => metadata.creationTimestamp ?? '';

const isRemote = (uri: string): boolean => /^https?:\/\//.test(uri);

function fetched(
  uri: string,
  digest: string | undefined,
  secretRef: { name: string } | undefined,
): Pick<Target, 'folder' | 'remote' | 'claimName' | 'digest'> {
  return { folder: undefined, remote: { uri, secretRef }, claimName: undefined, digest: digest?.replace(/^sha256:/, '') };
}

function targetOf(version: ModelVersion, servedName: string): Target {
  const { uri, digest, secretRef } = version.spec;
  if (isRemote(uri)) return { ...fetched(uri, digest, secretRef), id: version.metadata.name, servedName };
  const [claimName = '', ...path] = uri.slice('pvc://'.length).split('/');
  return {
    id: version.metadata.name,
    folder: [storage.modelsMount, ...path].join('/'),
    claimName,
    digest: digest.replace(/^sha256:/, ''),
    servedName,
  };
}
