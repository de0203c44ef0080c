// `windlass status`: tables of what there is, or a page about one object; with --watch, as it changes.
import type { WriteStream } from 'node:tty';
import type { KubeObject } from '#crds/resource.ts';
import { TrainingJob } from '#crds/v1alpha1/index.ts';
import { KubeError } from '#operator/kube/errors.ts';
import { WindlassError } from '#runtime/api/errors.ts';
import { printObjects } from '../objects.ts';
import type { OutputFormat } from '../objects.ts';
import { findObjects, parseReference } from '../target/references.ts';
import type { Reference } from '../target/references.ts';
import type { Target } from '../target/target.ts';
import { eventsOf, podsOf } from './gather.ts';
import { readObjects } from './instance-objects.ts';
import { lossesOf } from './losses.ts';
import { objectPage } from './page.ts';
import type { Seen } from './page.ts';
import { watchObjects } from './watch.ts';

export interface StatusOptions {
  /** KIND/NAME, KIND NAME, KIND or NAME. */
  readonly words: readonly string[];
  readonly output: OutputFormat;
  readonly watch: boolean;
  readonly terminal: WriteStream;
  /** Where remarks go. */
  readonly remark: (text: string) => void;
  readonly signal: AbortSignal;
}

/** Columns of a page that goes into a file or pipe. */
const plainWidth = 80;

/** Prints. With --watch, true if a job that was named has failed. Throws WL_OBJECT_NOT_FOUND, WL_NOT_RUNNING or WL_USAGE. */
export async function showStatus(target: Target, options: StatusOptions): Promise<boolean> {
  const { words, output, watch, terminal } = options;
  const reference = parseReference(words);
  if (watch) {
    if (output !== 'table') throw new WindlassError('WL_USAGE', `--watch shows a live view, and not -o ${output}`);
    return await watchObjects(target, reference, options);
  }
  const objects = await objectsFor(target, reference, options);
  const isPage = reference.name !== undefined && output === 'table';
  if (isPage) {
    const width = terminal.isTTY ? terminal.columns : plainWidth;
    const pages = await Promise.all(objects.map((object) => seenOf(target, object, options.remark)));
    terminal.write(pages.map((seen) => `${objectPage(seen, width, Date.now()).join('\n')}\n`).join('\n'));
    return false;
  }
  const namespaced = target.kind === 'cluster' && target.namespace === undefined;
  terminal.write(printObjects(objects, output, new Date(), { namespaced, ...nothingOn(target) }));
  return false;
}

/** Without a reference, all that there is; of an instance that does not run, what it left. */
async function objectsFor(
  target: Target,
  reference: Reference,
  { output, remark }: StatusOptions,
): Promise<readonly KubeObject[]> {
  if (target.kind === 'cluster') return await findObjects(target, reference);
  const { objects, running } = await readObjects(target.state);
  if (!running && output === 'table') remark('(not running: this is how it was left)\n');
  if (reference.kind === undefined && reference.name === undefined) return objects;
  const fits = ({ kind, metadata }: KubeObject) =>
    (reference.kind === undefined ? kind !== 'Pod' && kind !== 'Service' : kind === reference.kind.kind) &&
    (reference.name === undefined || metadata.name === reference.name);
  const found = objects.filter(fits);
  if (found.length > 0 || reference.name === undefined) return found;
  const what = reference.kind?.kind ?? 'TrainingJob, InferenceService, Model or ModelVersion';
  throw new WindlassError('WL_OBJECT_NOT_FOUND', `${target.state.path} holds no ${what} ${reference.name}`);
}

function nothingOn({ kind, namespace }: Target): { nothing?: string } {
  if (kind === 'instance') return {};
  const where = namespace === undefined ? 'in the cluster' : `in namespace ${namespace}`;
  return { nothing: `nothing ${where} yet; start with \`kubectl apply -f FILE\`` };
}

/** An object with its pods and events, as far as they may be read. */
async function seenOf(target: Target, object: KubeObject, remark: StatusOptions['remark']): Promise<Seen> {
  const without = (what: string) => (error: unknown) => {
    if (error instanceof WindlassError && error.code === 'WL_NOT_RUNNING') return [];
    if (!(error instanceof KubeError)) throw error;
    remark(`(without ${what}: ${error.message})\n`);
    return [];
  };
  const pods = await podsOf(target.api, object).catch(without('pods'));
  const events = await eventsOf(target.api, object, pods).catch(without('events'));
  const isOwnJob = target.kind === 'instance' && object.kind === TrainingJob.kind;
  const losses = isOwnJob ? await lossesOf(target.state, object as TrainingJob) : [];
  return { object, pods, events, losses };
}
