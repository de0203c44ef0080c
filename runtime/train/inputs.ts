// What a job names on servers, brought to the claim of its jobs: once for all jobs of the namespace that give the same digest.
import { createHash } from 'node:crypto';
import { basename, dirname, extname, join } from 'node:path';
import type { TrainingJobSpec } from '#crds/v1alpha1/training-job.ts';
import type { TrainingEnvironment } from '#runtime/api/environment.ts';
import { WindlassError } from '#runtime/api/errors.ts';
import type { Progress } from '#runtime/api/messages.ts';
import {
  download,
  downloadFiles,
  hexDigest,
  isRemote,
  leaseTimes,
  RemoteClient,
  remoteFiles,
  remoteUrl,
  shown,
  sizesOf,
  TransferMeter,
  withLease,
} from '#runtime/remote/main.ts';
import type { DownloadOptions } from '#runtime/remote/main.ts';
import { lockOf, makeRoom } from './input-room.ts';
import type { RoomOptions } from './input-room.ts';
import { InputUse } from './input-use.ts';
import { aboutField } from './local-path.ts';

export interface InputOptions {
  readonly env: Pick<TrainingEnvironment, 'WL_JOB_DIR' | 'WL_DATA_SECRET_DIR' | 'WL_MODEL_SECRET_DIR'>;
  readonly tell: (progress: Partial<Progress>) => void;
  readonly log: (fields: object, message: string) => void;
  /** Ends the fetching: what has come is kept, and the next try goes on from it. */
  readonly signal?: AbortSignal | undefined;
  readonly room?: RoomOptions['room'];
  readonly times?: RoomOptions['times'];
}

/** Something on a server, and where it is to lie. */
interface Input {
  /** Field of the spec, for messages. */
  readonly field: string;
  readonly words: string;
  readonly uri: string;
  /** sha256 in hexadecimal. */
  readonly digest: string | undefined;
  readonly path: string;
  readonly isFolder: boolean;
  readonly secretDir: string | undefined;
}

/** The spec with paths of the claim where it names servers: the same on all ranks. */
export function withLocalInputs(spec: TrainingJobSpec, env: InputOptions['env']): TrainingJobSpec {
  const { data, model } = inputsOf(spec, env);
  return {
    ...spec,
    ...(data ? { data: { ...spec.data, uri: data.path } } : {}),
    ...(model ? { model: { from: model.path } } : {}),
  };
}

/**
 * Fetches what is missing, and makes room for it. What lies there from an earlier time, or for another job, is held against its digest, and stays as long
 * as the job uses it: dispose of the result when the job stops, release it when it has succeeded. Throws WL_DIGEST_MISMATCH, WL_REMOTE_REFUSED,
 * WL_REMOTE_UNAVAILABLE, WL_SECRET_INVALID, WL_DISK_FULL, each naming the field.
 */
export async function fetchInputs(spec: TrainingJobSpec, options: InputOptions): Promise<InputUse> {
  const { env, times } = options;
  const { data, model } = inputsOf(spec, env);
  const inputs = [data, model].filter((input) => input !== undefined);
  const digests = inputs.flatMap(({ digest }) => digest ?? []);
  const use = await InputUse.begin(sharedFolder(env), shortHash(basename(env.WL_JOB_DIR)), digests, times);
  for (const input of inputs) {
    try {
      await fetchInput(input, use, options);
    } catch (error) {
      use[Symbol.dispose]();
      throw aboutField(input.field, error);
    }
  }
  return use;
}

function inputsOf(spec: TrainingJobSpec, env: InputOptions['env']): { data: Input | undefined; model: Input | undefined } {
  const { data, model } = spec;
  return {
    data: isRemote(data.uri) ? dataInput(data, env) : undefined,
    model: model.from !== undefined && isRemote(model.from) ? modelInput(model, env) : undefined,
  };
}

/** Shared by all jobs of the namespace. */
const sharedFolder = (env: InputOptions['env']): string => join(dirname(env.WL_JOB_DIR), '.remote');

function dataInput({ uri, digest, secretRef }: TrainingJobSpec['data'], env: InputOptions['env']): Input {
  const hex = digest === undefined ? undefined : hexDigest(digest);
  // Without a digest nothing says that another job means the same bytes.
  const own = join(env.WL_JOB_DIR, 'cache/remote', shortHash(uri));
  const place = hex === undefined ? own : join(sharedFolder(env), hex);
  const { pathname } = remoteUrl(uri);
  const kind = pathname.endsWith('/') ? '' : extname(pathname);
  return {
    field: 'data.uri',
    words: 'downloading data',
    uri,
    digest: hex,
    path: kind === '' ? place : join(place, `data${kind}`),
    isFolder: kind === '',
    secretDir: secretRef && env.WL_DATA_SECRET_DIR,
  };
}

function modelInput({ from = '', digest = '', secretRef }: TrainingJobSpec['model'], env: InputOptions['env']): Input {
  const hex = hexDigest(digest);
  const secretDir = secretRef && env.WL_MODEL_SECRET_DIR;
  const path = join(sharedFolder(env), hex);
  return { field: 'model.from', words: 'downloading model', uri: from, digest: hex, path, isFolder: true, secretDir };
}

const shortHash = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 16);

async function fetchInput(input: Input, use: InputUse, { env, tell, log, signal, room, times }: InputOptions): Promise<void> {
  const { words, uri, digest, path, isFolder, secretDir } = input;
  const url = remoteUrl(uri);
  const say = (transfer?: Progress['transfer']) => {
    const { bytes = 0, totalBytes } = transfer ?? {};
    tell({ phase: words, phaseShare: totalBytes ? bytes / totalBytes : undefined, transfer });
  };
  const meter = new TransferMeter(say, () => performance.now());
  const readMeter = new TransferMeter(
    (transfer) => tell({ phase: words.replace('downloading', 'verifying'), phaseShare: undefined, transfer }),
    () => performance.now(),
  );
  const onSetback = (message: string, pauseMs: number) => {
    meter.setBack(message, pauseMs);
    log({ code: 'WL_REMOTE_UNAVAILABLE', pauseMs: Math.round(pauseMs) }, message);
  };
  using client = new RemoteClient({ secretDir, onSetback, signal });
  const shared = sharedFolder(env);
  const lock = lockOf(shared, digest ?? shortHash(path));
  let hasRoom = false;
  const needs = async (bytes: number): Promise<void> => {
    // Once: a file that is fetched in pieces is announced with each.
    if (!hasRoom) await makeRoom(shared, { digest, bytes }, { room, times, log });
    hasRoom = true;
  };
  const onWait = () => tell({ phase: `waiting for another job that is ${words}` });
  await withLease(lock, times ?? leaseTimes, onWait, async () => {
    // Whoever held the lock may have removed what was there, and the mark with it.
    await use.renew();
    say();
    const onBytes = (bytes: number, totalBytes: number | undefined) => meter.moved(bytes, totalBytes);
    const onRead = (bytes: number) => readMeter.moved(bytes, undefined);
    if (isFolder) await fetchFolder(client, url, input, { needs, onBytes, onRead });
    const { sha256 = digest } = isFolder ? {} : await download(client, url, { path, sha256: digest, needs, onBytes, onRead });
    log(
      { url: shown(url), digest: `sha256:${sha256}` },
      digest === undefined ? 'fetched, and held against no digest' : 'fetched',
    );
  });
  tell({ phase: 'preparing', phaseShare: undefined, transfer: undefined });
}

/** Of a folder of data, its texts. */
async function fetchFolder(
  client: RemoteClient,
  url: URL,
  { field, digest = '', path }: Input,
  { needs, onBytes, onRead }: Required<Pick<DownloadOptions, 'needs' | 'onBytes' | 'onRead'>>,
): Promise<void> {
  const listed = await remoteFiles(client, url, digest, path);
  const files = field === 'data.uri' ? listed.filter(({ name }) => /\.(txt|jsonl)$/.test(name)) : listed;
  if (files.length === 0) throw new WindlassError('WL_DATA_INVALID', `the list of ${shown(url)} has no .txt or .jsonl file`);
  const sizes = (await sizesOf(client, url, files, path)).map(({ bytes }) => bytes);
  const total = sizes.every((bytes) => bytes !== undefined) ? sizes.reduce((sum, bytes) => sum + bytes, 0) : undefined;
  await needs(total ?? 0);
  await downloadFiles(client, url, files, path, (bytes) => onBytes(bytes, total), onRead);
}
