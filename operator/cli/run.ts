// `windlass run`: applies manifests to an embedded instance, shows how they go, asks the service something, and ends in order.
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { WriteStream } from 'node:tty';
import { pino } from 'pino';
import type { Manifest } from '#operator/kube/manifest.ts';
import { startInstance } from '#operator/local/instance.ts';
import { openLogFile } from '#operator/local/log-file.ts';
import { makeStateDir } from '#operator/local/state-dir.ts';
import type { StateDir } from '#operator/local/state-dir.ts';
import { lockState } from '#operator/local/state-lock.ts';
import { toWindlassError } from '#runtime/api/errors.ts';
import { applyManifest } from './apply-manifest.ts';
import { complete, endpointAt } from './ask.ts';
import { endText, servingText } from './farewell.ts';
import { readManifestFiles } from './manifest-files.ts';
import { observe } from './observe.ts';
import type { Observer } from './observe.ts';
import { ProfileFile } from './profile.ts';
import { openScreen } from './screen.ts';
import type { Screen } from './screen.ts';
import type { JobView, ServiceView } from './view.ts';

export interface RunOptions {
  readonly files: readonly string[];
  readonly state: StateDir;
  /** Text that the first service of the manifests continues once it is ready. */
  readonly ask?: string | undefined;
  /** Ends when all jobs have ended and the question is answered, services or not. */
  readonly exit: boolean;
  /** File for a profile of some steps and requests. */
  readonly profile?: string | undefined;
  readonly windlassCommand: readonly string[];
  readonly terminal: WriteStream;
  /** Ctrl-C or SIGTERM. */
  readonly interrupt: AbortSignal;
}

/** `stopped`: somebody asked for the end before the work was done, or paused what was left of it. */
export type RunEnd = 'succeeded' | 'failed' | 'stopped';

const lookEveryMs = 100;
/** Tokens of the answer to --ask. */
const answerTokens = 48;

/** Runs to the end: all jobs have ended (and the question is answered), or somebody asks to stop. */
export async function run(options: RunOptions): Promise<RunEnd> {
  const { state } = options;
  const manifests = await readManifestFiles(options.files);
  makeStateDir(state);
  // Held until this process has ended, so that whoever waits for it knows that nothing is left of it.
  await lockState(state);
  const profile = options.profile === undefined ? undefined : await ProfileFile.prepare(options.profile, state);
  const logFile = openLogFile(join(state.path, 'operator.log'));
  const log = pino(
    {
      base: { service: 'operator' },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (level) => ({ level }) },
    },
    logFile,
  );
  const stop = new AbortController();
  const notes: string[] = [];
  let screen: Screen | undefined;
  const note = (text: string) => (screen ? screen.note(text) : notes.push(text));
  logFile.on('error', (error) => note(`${state.path}/operator.log can't be written: ${error.message}`));
  try {
    const instance = await startInstance({
      state,
      workingDir: process.cwd(),
      windlassCommand: options.windlassCommand,
      log,
      profileDir: profile?.folder,
      onError: (error, object) => note(`${object}: ${error.code}: ${error.message}. ${error.remedy}`),
      onStopRequest: () => stop.abort(),
    });
    const observer = observe(instance.client, instance.bus);
    const signal = AbortSignal.any([options.interrupt, stop.signal]);
    try {
      for (const manifest of manifests) await applyManifest(instance.client, manifest);
      screen = openScreen(options.terminal, `windlass  ${options.files.join(' ')}`);
      for (const text of notes) screen.note(text);
      const end = await watchToEnd(options, manifests, observer.look, screen, signal);
      screen.say(signal.aborted ? '\nstopping; a later run goes on from here\n' : await endingText(options, observer));
      return end;
    } finally {
      screen?.close();
      observer.close();
      await instance.stop();
      if (profile) options.terminal.write(await profile.write());
    }
  } finally {
    logFile.end();
    await rm(state.pidFile, { force: true });
  }
}

async function watchToEnd(
  options: RunOptions,
  manifests: readonly Manifest[],
  look: Observer['look'],
  screen: Screen,
  signal: AbortSignal,
): Promise<RunEnd> {
  const [jobNames, serviceNames] = [namesOf(manifests, 'TrainingJob'), namesOf(manifests, 'InferenceService')];
  let answer: 'none' | 'given' | 'refused' = 'none';
  let saidServing = false;
  let endedBefore = false;
  for (;;) {
    const view = await look();
    screen.show({ title: '', elapsedSeconds: 0, ...view });
    if (signal.aborted) return 'stopped';
    const jobs = view.jobs.filter(({ name }) => jobNames.has(name));
    const ended = jobs.every(hasEnded);
    const succeeded = jobs.every(({ state }) => state === 'Succeeded');
    const services = view.services.filter(({ name }) => serviceNames.has(name));
    // The answer shall come from what this run trains: services get a moment to see a new version before they count as ready.
    const ready = endedBefore && succeeded ? services.filter(isReady) : [];
    endedBefore = ended;
    if (ready[0] && answer === 'none' && options.ask !== undefined) answer = await ask(ready[0], options.ask, screen, signal);
    const asked = options.ask === undefined || answer !== 'none';
    const end = succeeded && answer !== 'refused' ? 'succeeded' : 'failed';
    const paused = jobs.some(isPaused) && jobs.every((job) => job.state === 'Succeeded' || isPaused(job));
    if (ended && !succeeded && (options.exit || services.length === 0)) return paused ? 'stopped' : 'failed';
    if (ended && services.length === 0) return end;
    if (options.exit && ended && asked && ready.length === services.length) return end;
    if (!saidServing && !options.exit && asked && ready.length > 0) {
      screen.say(servingText(endingOf(options, view)));
      saidServing = true;
    }
    await new Promise((resolve) => setTimeout(resolve, lookEveryMs));
  }
}

/** Prints what the service makes of the question. A refusal is told, and the rest goes on. */
async function ask(service: ServiceView, text: string, screen: Screen, signal: AbortSignal): Promise<'given' | 'refused'> {
  try {
    const answer = await complete(endpointAt(service.url ?? ''), text, answerTokens, signal);
    screen.say(`\n${service.name}: ${text}${answer.trimEnd()}\n`);
    return 'given';
  } catch (thrown) {
    const error = toWindlassError(thrown);
    if (!signal.aborted)
      screen.say(`\n${service.name} refused the question: ${error.code}: ${error.message}\n  ${error.remedy}\n`);
    return 'refused';
  }
}

function namesOf(manifests: readonly Manifest[], kind: string): Set<string> {
  return new Set(manifests.filter(({ resource }) => resource.kind === kind).map(({ object }) => object.metadata.name));
}

function hasEnded({ state, stopping }: JobView): boolean {
  return state === 'Succeeded' || state === 'Failed' || (state === 'Suspended' && !stopping);
}

function isPaused({ state }: JobView): boolean {
  return state === 'Suspended';
}

function isReady({ state, url }: ServiceView): boolean {
  return state === 'Ready' && url !== undefined;
}

function endingOf({ files, state }: RunOptions, view: { jobs: JobView[]; services: ServiceView[] }) {
  return { files, statePath: state.path, workingDir: process.cwd(), view };
}

async function endingText(options: RunOptions, { look }: Observer): Promise<string> {
  return endText(endingOf(options, await look()));
}
