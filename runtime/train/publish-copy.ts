// Puts a copy of a published version on the server that the job names. The version itself is safe by then, whatever the server does.
import { join } from 'node:path';
import type { TrainingJobSpec } from '#crds/v1alpha1/training-job.ts';
import type { TrainingEnvironment } from '#runtime/api/environment.ts';
import { toWindlassError } from '#runtime/api/errors.ts';
import type { Progress, PublishedModel } from '#runtime/api/messages.ts';
import { inFolder, RemoteClient, shown, TransferMeter, uploadFolder } from '#runtime/remote/main.ts';

export interface CopyOptions {
  readonly env: Pick<TrainingEnvironment, 'WL_MODELS_DIR' | 'WL_OUTPUT_SECRET_DIR'>;
  readonly tell: (progress: Partial<Progress>) => void;
  readonly log: (fields: object, message: string) => void;
}

/** Where the copy lies, or why there is none; nothing if none is asked for. Never throws. */
export async function publishCopy(
  { path }: Pick<PublishedModel, 'path'>,
  { uri, secretRef }: TrainingJobSpec['output'],
  { env, tell, log }: CopyOptions,
): Promise<Pick<PublishedModel, 'url' | 'copyFault'>> {
  if (uri === undefined) return {};
  const url = inFolder(new URL(uri), path);
  const meter = new TransferMeter(
    (transfer) => tell({ phase: 'publishing a copy', transfer }),
    () => performance.now(),
  );
  const onSetback = (message: string, pauseMs: number) => {
    meter.setBack(message, pauseMs);
    log({ code: 'WL_REMOTE_UNAVAILABLE', pauseMs: Math.round(pauseMs) }, message);
  };
  try {
    using client = new RemoteClient({ secretDir: secretRef && env.WL_OUTPUT_SECRET_DIR, onSetback });
    await uploadFolder(client, url, join(env.WL_MODELS_DIR, path), (bytes, total) => meter.moved(bytes, total));
  } catch (thrown) {
    const { code, message, remedy } = toWindlassError(thrown);
    log({ code, remedy }, `no copy of the version: ${message}`);
    tell({ phase: 'publishing', transfer: undefined });
    return { copyFault: { code, message: message.slice(0, 600), remedy } };
  }
  tell({ phase: 'publishing', transfer: undefined });
  const plain = `${shown(url).replace(/\?…$/, '')}/`;
  log({ url: plain }, 'a copy of the version is on the server');
  return { url: plain };
}
