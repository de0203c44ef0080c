// What a job names on servers, brought to the claim of its jobs: once for all jobs of the namespace that give the same digest.
import { rm } from 'node:fs/promises';
import { basename } from 'node:path';
import type { TrainingJobSpec } from '#crds/v1alpha1/training-job.ts';
import { WindlassError } from '#runtime/api/errors.ts';
import type { Progress } from '#runtime/api/messages.ts';
import {
  download,
  downloadFiles,
  isUnpacked,
  leaseTimes,
  RemoteClient,
  remoteFiles,
  remoteUrl,
  shown,
  sizesOf,
  TransferMeter,
  unpack,
  withLease,
} from '#runtime/remote/main.ts';
import type { DownloadOptions } from '#runtime/remote/main.ts';
import { lockOf, makeRoom } from './input-room.ts';
import type { RoomOptions } from './input-room.ts';
import { InputUse } from './input-use.ts';
import { aboutField } from './local-path.ts';
import { inputsOf, sharedFolder, shortHash } from './named-inputs.ts';
import type { Input, InputEnvironment } from './named-inputs.ts';

export interface InputOptions {
  readonly env: InputEnvironment;
  readonly tell: (progress: Partial<Progress>) => void;
  readonly log: (fields: object, message: string) => void;
  /** Ends the fetching: what has come is kept, and the next try goes on from it. */
  readonly signal?: AbortSignal | undefined;
  readonly room?: RoomOptions['room'];
  readonly times?: RoomOptions['times'];
}

/**
 * Fetches what is missing, and makes room for it. What lies there from an earlier time, or for another job, is held against its digest, and stays as long
 * as the job uses it: dispose of the result when the job stops, release it when it has succeeded. Throws WL_DIGEST_MISMATCH, WL_REMOTE_REFUSED,
 * WL_REMOTE_UNAVAILABLE, WL_SECRET_INVALID, WL_DISK_FULL, each naming the field.
 */
export async function fetchInputs(spec: TrainingJobSpec, options: InputOptions): Promise<InputUse> {
  const { env, times } = options;
  const inputs = Object.values(inputsOf(spec, env)).filter((input) => input !== undefined);
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

async function fetchInput(input: Input, use: InputUse, { env, tell, log, signal, room, times }: InputOptions): Promise<void> {
  const { words, uri, digest, path, isFolder, archive, secretDir } = input;
  const url = remoteUrl(uri);
  const say = (transfer?: Progress['transfer']) => {
    tell({ phase: words, phaseShare: shareOf(transfer), transfer });
  };
  const meter = new TransferMeter(say, () => performance.now());
  const readMeter = new TransferMeter(
    (transfer) => tell({ phase: words.replace('downloading', 'verifying'), phaseShare: undefined, transfer }),
    () => performance.now(),
  );
  const unpackMeter = new TransferMeter(
    (transfer) => tell({ phase: words.replace('downloading', 'unpacking'), phaseShare: shareOf(transfer), transfer: undefined }),
    () => performance.now(),
  );
  const onSetback = (message: string, pauseMs: number) => {
    meter.setBack(message, pauseMs);
    log({ code: 'WL_REMOTE_UNAVAILABLE', pauseMs: Math.round(pauseMs) }, message);
  };
  using client = new RemoteClient({ secretDir, onSetback, signal });
  const shared = sharedFolder(env);
  const lock = lockOf(shared, digest ?? shortHash(path));
  let announced = -1;
  const needs = async (bytes: number): Promise<void> => {
    // A file that is fetched in pieces is announced with each.
    if (bytes > announced) await makeRoom(shared, { digest, bytes }, { room, times, log });
    announced = Math.max(announced, bytes);
  };
  const onWait = () => tell({ phase: `waiting for another job that is ${words}` });
  await withLease(lock, times ?? leaseTimes, onWait, async () => {
    // Whoever held the lock may have removed what was there, and the mark with it.
    await use.renew();
    say();
    const onBytes = (bytes: number, totalBytes: number | undefined) => meter.moved(bytes, totalBytes);
    const onRead = (bytes: number) => readMeter.moved(bytes, undefined);
    const transfer = { needs, onBytes, onRead };
    const onUnpacked = (bytes: number, totalBytes: number) => {
      signal?.throwIfAborted();
      unpackMeter.moved(bytes, totalBytes);
    };
    const found = isFolder
      ? await fetchFolder(client, url, input, transfer)
      : archive
        ? await fetchArchive(client, url, input, { ...transfer, onUnpacked })
        : (await download(client, url, { path, sha256: digest, ...transfer })).sha256;
    const sha256 = found ?? digest;
    log(
      { url: shown(url), digest: `sha256:${sha256}` },
      digest === undefined ? 'fetched, and held against no digest' : 'fetched',
    );
  });
  tell({ phase: 'preparing', phaseShare: undefined, transfer: undefined });
}

function shareOf(transfer: Progress['transfer']): number | undefined {
  const { bytes = 0, totalBytes } = transfer ?? {};
  return totalBytes ? bytes / totalBytes : undefined;
}

type Told = Required<Pick<DownloadOptions, 'needs' | 'onBytes' | 'onRead'>>;

/** Leaves the files of an archive, and not the archive. Gives its sha256 if it was fetched. */
async function fetchArchive(
  client: RemoteClient,
  url: URL,
  { archive, only, digest }: Input,
  { onUnpacked, ...told }: Told & { readonly onUnpacked: (bytes: number, totalBytes: number) => void },
): Promise<string | undefined> {
  const { packing, path, folder } = archive!;
  let sha256: string | undefined;
  if (!(await isUnpacked(folder, told.onRead))) {
    const fetched = await download(client, url, { path, sha256: digest, ...told });
    const needs = (bytes: number) => told.needs(bytes + fetched.bytes);
    await unpack(path, packing, folder, { place: shown(url), only: only!.files, words: only!.words, needs, onBytes: onUnpacked });
    sha256 = fetched.sha256;
  }
  await rm(path, { force: true });
  return sha256;
}

/** Those of its files that are of use. */
async function fetchFolder(
  client: RemoteClient,
  url: URL,
  { only, digest = '', path }: Input,
  { needs, onBytes, onRead }: Told,
): Promise<undefined> {
  const listed = await remoteFiles(client, url, digest, path);
  const files = only ? listed.filter(({ name }) => only.files.test(name)) : listed;
  if (only && files.length === 0) throw new WindlassError(only.code, `the list of ${shown(url)} has no ${only.words}`);
  const sizes = (await sizesOf(client, url, files, path)).map(({ bytes }) => bytes);
  const total = sizes.every((bytes) => bytes !== undefined) ? sizes.reduce((sum, bytes) => sum + bytes, 0) : undefined;
  await needs(total ?? 0);
  await downloadFiles(client, url, files, path, (bytes) => onBytes(bytes, total), onRead);
}
