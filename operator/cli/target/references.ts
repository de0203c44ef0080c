// Objects as people name them on a command line: KIND/NAME, KIND NAME, NAME alone, or a KIND.
import type { KubeObject, Resource } from '#crds/resource.ts';
import { InferenceService, Model, ModelVersion, resources, TrainingJob } from '#crds/v1alpha1/index.ts';
import type { ObjectKey } from '#operator/kube/client.ts';
import { isNotFound, KubeError } from '#operator/kube/errors.ts';
import { WindlassError } from '#runtime/api/errors.ts';
import type { Target } from './target.ts';

/** Kinds that a name without one may be of, in the order in which they are shown. */
export const mainKinds: readonly Resource[] = [TrainingJob, InferenceService, Model, ModelVersion];

/** Names of kinds that are shorter than those that kubectl knows. */
const shortNames: Readonly<Record<string, string>> = {
  job: 'trainingjobs',
  jobs: 'trainingjobs',
  service: 'inferenceservices',
  services: 'inferenceservices',
  svc: 'inferenceservices',
  version: 'modelversions',
  versions: 'modelversions',
};

export interface Reference {
  /** Any if absent. */
  readonly kind?: Resource | undefined;
  /** All of the kind if absent. */
  readonly name?: string | undefined;
}

/** The kind that `text` stands for: singular, plural or short, with or without its group. */
export function kindNamed(text: string): Resource | undefined {
  const word = text.toLowerCase().replace(/\.windlass\.dev$/, '');
  const plural = shortNames[word] ?? word;
  return resources.find(
    ({ kind, definition }) =>
      definition.plural === plural || kind.toLowerCase() === plural || definition.shortNames.includes(plural),
  );
}

/**
 * Reads the words of a command. A word alone is a kind if it names one, unless `nameFirst`. Throws WL_USAGE for an unknown kind, or too many words.
 */
export function parseReference(words: readonly string[], { nameFirst = false } = {}): Reference {
  const [first, second, ...more] = words.flatMap((word) => word.split('/'));
  if (first === undefined || first === 'all') return {};
  if (more.length > 0) throw new WindlassError('WL_USAGE', `${words.join(' ')} names several objects; give one, as KIND/NAME`);
  const kind = kindNamed(first);
  if (second !== undefined) {
    if (!kind) throw new WindlassError('WL_USAGE', `${first} is no kind of Windlass; there are: ${kindWords().join(', ')}`);
    return { kind, name: second };
  }
  return kind && !nameFirst ? { kind } : { name: first };
}

/** What KIND may be, the shortest name of each. */
export function kindWords(): string[] {
  return resources.map(
    ({
      definition: {
        shortNames: [short],
        plural,
      },
    }) => short ?? plural,
  );
}

/** The objects of `kinds` that a reference names. Throws WL_OBJECT_NOT_FOUND naming those that there are. */
export async function findObjects(
  target: Target,
  reference: Reference,
  kinds: readonly Resource[] = mainKinds,
): Promise<KubeObject[]> {
  const searched = reference.kind ? [reference.kind] : kinds;
  const found = (await Promise.all(searched.map((kind) => objectsOf(target, kind, reference.name)))).flat();
  if (found.length > 0 || reference.name === undefined) return found;
  const there = (await Promise.all(searched.map((kind) => objectsOf(target, kind, undefined)))).flat();
  throw notFound(target, reference, searched, there);
}

/**
 * The one object of `kinds` that a reference names. Throws WL_OBJECT_NOT_FOUND, or WL_USAGE if it names several.
 */
export async function findOne(target: Target, reference: Reference, kinds: readonly Resource[]): Promise<KubeObject> {
  if (reference.kind && !kinds.includes(reference.kind)) {
    const words = kinds.map(({ kind }) => kind).join(' and ');
    throw new WindlassError('WL_USAGE', `this is for ${words}, and ${reference.kind.kind} is neither`);
  }
  const found = await findObjects(target, reference, kinds);
  const [only, another] = found;
  if (only && !another) return only;
  const names = found.map(wordOf).join(' and ');
  throw new WindlassError('WL_USAGE', `${reference.name} is the name of ${names}; say which`);
}

/** `trainingjob/moby`, with its namespace where several are looked at. */
export function wordOf({ kind, metadata: { name } }: KubeObject): string {
  return `${kind.toLowerCase()}/${name}`;
}

/** What `kind` and `name` are on the target. */
async function objectsOf(target: Target, kind: Resource, name: string | undefined): Promise<KubeObject[]> {
  const { namespace } = target;
  if (name !== undefined && (namespace !== undefined || !kind.namespaced)) {
    const key: ObjectKey = kind.namespaced ? { namespace, name } : { name };
    return await target.api.get(kind, key).then(
      (object) => [object],
      async (error: unknown) => {
        if (!isNotFound(error)) throw error;
        return [];
      },
    );
  }
  const { items } = await list(target, kind);
  return items.filter(({ metadata }) => name === undefined || metadata.name === name);
}

async function list(target: Target, kind: Resource) {
  try {
    return await target.api.list(kind, kind.namespaced ? { namespace: target.namespace } : {});
  } catch (error) {
    if (!isNotFound(error)) throw error;
    const message = `the cluster does not know the kind ${kind.kind}: Windlass is not installed on it`;
    throw new KubeError('Unavailable', message, { cause: error });
  }
}

function notFound(
  { namespace }: Target,
  { name }: Reference,
  searched: readonly Resource[],
  there: readonly KubeObject[],
): WindlassError {
  const kinds = searched.map(({ kind }) => kind).join(', ');
  const where = namespace === undefined ? '' : ` in namespace ${namespace}`;
  const names = there.slice(0, 20).map(wordOf).join(', ') || 'none';
  return new WindlassError('WL_OBJECT_NOT_FOUND', `${name} is no ${kinds}${where}; there are: ${names}`);
}
