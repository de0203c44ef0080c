// `windlass run`: applies manifests to an embedded instance, shows how they go, asks the service something, and ends in order.
import { join } from 'node:path';
import { pino } from 'pino';
import { deepEqual } from '#crds/rules.ts';
import type { KubeClient } from '#operator/kube/client.ts';
import { isNotFound } from '#operator/kube/errors.ts';
import type { Manifest } from '#operator/kube/manifest.ts';
import { startInstance } from '#operator/local/instance.ts';
import { makeStateDir } from '#operator/local/state-dir.ts';
import type { StateDir } from '#operator/local/state-dir.ts';
import { WindlassError } from '#runtime/api/errors.ts';
import { complete } from './ask.ts';
import { startLiveScreen } from './live-screen.ts';
import { readManifestFiles } from './manifest-files.ts';
import { observe } from './observe.ts';
import { linesOfChange } from './plain-lines.ts';
import { renderView } from './view.ts';
import type { View } from './view.ts';

export interface RunOptions {
  readonly files: readonly string[];
  readonly state: StateDir;
  /** Text that the first service of the manifests continues once it is ready. */
  readonly ask?: string | undefined;
  /** Ends when all jobs have ended and the question is answered, services or not. */
  readonly exit: boolean;
  readonly windlassCommand: readonly string[];
  readonly terminal: NodeJS.WriteStream;
  /** Ctrl-C or SIGTERM. */
  readonly interrupt: AbortSignal;
}

const lookEveryMs = 100;
/** Tokens of the answer to --ask. */
const answerTokens = 48;

/** Runs to the end. Resolves to whether every job succeeded (and the question was answered). */
export async function run(options: RunOptions): Promise<boolean> {
  const manifests = await readManifestFiles(options.files);
  makeStateDir(options.state);
  const log = pino(
    { base: { service: 'operator' } },
    pino.destination({ dest: join(options.state.path, 'operator.log'), append: true, sync: false }),
  );
  const stop = new AbortController();
  if (options.interrupt.aborted) stop.abort();
  options.interrupt.addEventListener('abort', () => stop.abort(), { once: true });
  const notes: string[] = [];
  const instance = await startInstance({
    state: options.state,
    workingDir: process.cwd(),
    windlassCommand: options.windlassCommand,
    log,
    onError: (error, object) => notes.push(`${object}: ${error.code}: ${error.message}. ${error.remedy}`),
    onStopRequest: () => stop.abort(),
  });
  const screen = openScreen(options, notes);
  const observer = observe(instance.client, instance.bus);
  try {
    for (const manifest of manifests) await applyManifest(instance.client, manifest);
    return await watchToEnd(options, manifests, observer.look, screen, stop.signal);
  } finally {
    screen.close(stop.signal.aborted ? 'stopping' : undefined);
    observer.close();
    await instance.stop();
  }
}

/** Creates the object, or brings an existing one to the spec of the manifest. */
async function applyManifest(client: KubeClient, { resource, object, file, line }: Manifest): Promise<void> {
  const namespace = object.metadata.namespace ?? 'default';
  const wanted = resource.namespaced ? { ...object, metadata: { ...object.metadata, namespace } } : object;
  const key = { name: object.metadata.name, ...(resource.namespaced ? { namespace } : {}) };
  try {
    const existing = await client.get(resource, key).catch((error: unknown) => {
      if (isNotFound(error)) return undefined;
      throw error;
    });
    if (!existing) await client.create(resource, wanted);
    else if (!deepEqual(existing.spec, wanted.spec)) await client.update(resource, { ...existing, spec: wanted.spec });
  } catch (error) {
    throw new WindlassError(
      'WL_FIELD_IMMUTABLE',
      `${file}:${line}: ${resource.kind} ${key.name}: ${error instanceof Error ? error.message : String(error)}`,
      { cause: error },
    );
  }
}

interface Screen {
  show(view: View): void;
  print(text: string): void;
  close(last: string | undefined): void;
}

function openScreen({ terminal, files }: RunOptions, notes: readonly string[]): Screen {
  const empty: View = { title: `windlass  ${files.join(' ')}`, elapsedSeconds: 0, jobs: [], services: [] };
  let [view, told]: [View, View | undefined] = [empty, undefined];
  const started = performance.now();
  const withNotes = (width: number) => [
    ...renderView({ ...view, elapsedSeconds: (performance.now() - started) / 1000 }, width),
    ...notes,
  ];
  let toldNotes = 0;
  if (terminal.isTTY) {
    let live = startLiveScreen(terminal, withNotes);
    return {
      show: (next) => void (view = next),
      print(text) {
        live.stop();
        terminal.write(text);
        live = startLiveScreen(terminal, () => []);
      },
      close(last) {
        live.stop();
        if (last) terminal.write(`${last}\n`);
      },
    };
  }
  return {
    show(next) {
      for (const line of linesOfChange(told, next)) terminal.write(`${line}\n`);
      for (const note of notes.slice(toldNotes)) terminal.write(`${note}\n`);
      [told, toldNotes] = [next, notes.length];
    },
    print: (text) => void terminal.write(text),
    close: (last) => void (last && terminal.write(`${last}\n`)),
  };
}

async function watchToEnd(
  options: RunOptions,
  manifests: readonly Manifest[],
  look: () => Promise<Pick<View, 'jobs' | 'services'>>,
  screen: Screen,
  stop: AbortSignal,
): Promise<boolean> {
  const namesOf = (kind: string) =>
    new Set(manifests.filter(({ resource }) => resource.kind === kind).map(({ object }) => object.metadata.name));
  const [jobNames, serviceNames] = [namesOf('TrainingJob'), namesOf('InferenceService')];
  const title = `windlass  ${options.files.join(' ')}`;
  let asked = options.ask === undefined;
  for (;;) {
    const { jobs, services } = await look();
    screen.show({ title, elapsedSeconds: 0, jobs, services });
    if (stop.aborted) return false;
    const own = jobs.filter(({ name }) => jobNames.has(name));
    const ended = own.every(({ state }) => state === 'Succeeded' || state === 'Failed' || state === 'Suspended');
    const succeeded = own.every(({ state }) => state === 'Succeeded');
    const ready = services.find(({ name, state, url }) => serviceNames.has(name) && state === 'Ready' && url);
    if (!asked && ready?.url && options.ask !== undefined) {
      const answer = await complete(ready.url, ready.name, options.ask, answerTokens);
      screen.print(`\n${ready.name}: ${options.ask}${answer}\n`);
      asked = true;
    }
    if (ended && !succeeded && (options.exit || serviceNames.size === 0)) return false;
    const servicesDone = serviceNames.size === 0 || (options.exit && (options.ask === undefined ? ready !== undefined : asked));
    if (ended && servicesDone) return succeeded;
    await new Promise((resolve) => setTimeout(resolve, lookEveryMs));
  }
}
