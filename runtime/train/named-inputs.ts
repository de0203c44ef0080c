// What a job names on servers, and where on the claim each of it is to lie.
import { createHash } from 'node:crypto';
import { dirname, extname, join } from 'node:path';
import type { TrainingJobSpec } from '#crds/v1alpha1/training-job.ts';
import type { TrainingEnvironment } from '#runtime/api/environment.ts';
import type { ErrorCode } from '#runtime/api/errors.ts';
import { hexDigest, isRemote, packingOf, remoteUrl, unpackedFiles } from '#runtime/remote/main.ts';
import type { Packing } from '#runtime/remote/main.ts';

export type InputEnvironment = Pick<
  TrainingEnvironment,
  'WL_JOB_DIR' | 'WL_DATA_SECRET_DIR' | 'WL_TOKENIZER_SECRET_DIR' | 'WL_MODEL_SECRET_DIR'
>;

type InputName = 'data' | 'tokenizer' | 'model';

/** Something on a server, and where it is to lie. */
export interface Input {
  /** Field of the spec, for messages. */
  readonly field: string;
  readonly words: string;
  readonly uri: string;
  /** sha256 in hexadecimal. */
  readonly digest: string | undefined;
  readonly path: string;
  readonly isFolder: boolean;
  /** Of one that is unpacked: how, where the archive lies until then, and the folder that it is unpacked into. */
  readonly archive?: { readonly packing: Packing; readonly path: string; readonly folder: string } | undefined;
  /** Which files of a folder or archive are wanted, all by default, and what it is where there are none. */
  readonly only?: { readonly files: RegExp; readonly code: ErrorCode; readonly words: string };
  readonly secretDir: string | undefined;
}

/** The spec with paths of the claim where it names servers: the same on all ranks. */
export function withLocalInputs(spec: TrainingJobSpec, env: InputEnvironment): TrainingJobSpec {
  const { data, tokenizer, model } = inputsOf(spec, env);
  const local = {
    ...spec.data,
    ...(data ? { uri: data.path } : {}),
    ...(tokenizer ? { tokenizer: { uri: tokenizer.path } } : {}),
  };
  return { ...spec, data: local, ...(model ? { model: { from: model.path } } : {}) };
}

/** What is to be fetched. */
export function inputsOf({ data, model }: TrainingJobSpec, env: InputEnvironment): Record<InputName, Input | undefined> {
  const { tokenizer } = data;
  return {
    data: isRemote(data.uri) ? dataInput(data, env) : undefined,
    tokenizer: tokenizer?.uri !== undefined && isRemote(tokenizer.uri) ? tokenizerInput(tokenizer, env) : undefined,
    model: model.from !== undefined && isRemote(model.from) ? modelInput(model, env) : undefined,
  };
}

/** Shared by all jobs of the namespace. */
export const sharedFolder = (env: InputEnvironment): string => join(dirname(env.WL_JOB_DIR), '.remote');

function dataInput({ uri, digest, secretRef }: TrainingJobSpec['data'], env: InputEnvironment): Input {
  const hex = digest === undefined ? undefined : hexDigest(digest);
  // Without a digest nothing says that another job means the same bytes.
  const own = join(env.WL_JOB_DIR, 'cache/remote', shortHash(uri));
  const place = hex === undefined ? own : join(sharedFolder(env), hex);
  const kind = kindOf(uri);
  const packing = packingOf(kind);
  const folder = join(place, 'unpacked');
  return {
    field: 'data.uri',
    words: 'downloading data',
    uri,
    digest: hex,
    path: packing ? unpackedFiles(folder) : kind === '' ? place : join(place, `data${kind}`),
    isFolder: kind === '',
    archive: packing && { packing, path: join(place, `data${kind}`), folder },
    only: { files: /\.(txt|jsonl)$/, code: 'WL_DATA_INVALID', words: '.txt or .jsonl file' },
    secretDir: secretRef && env.WL_DATA_SECRET_DIR,
  };
}

function tokenizerInput(
  { uri = '', digest = '', secretRef }: NonNullable<TrainingJobSpec['data']['tokenizer']>,
  env: InputEnvironment,
): Input {
  const hex = hexDigest(digest);
  const place = join(sharedFolder(env), hex);
  const kind = kindOf(uri);
  return {
    field: 'data.tokenizer.uri',
    words: 'downloading tokenizer',
    uri,
    digest: hex,
    path: kind === '' ? place : join(place, `tokenizer${kind}`),
    isFolder: kind === '',
    only: {
      files: /^(tokenizer\.json|tokenizer_config\.json|chat_template\.jinja)$/,
      code: 'WL_TOKENIZER_INVALID',
      words: 'tokenizer.json',
    },
    secretDir: secretRef && env.WL_TOKENIZER_SECRET_DIR,
  };
}

/** How the name of a file ends; empty for a folder. */
function kindOf(uri: string): string {
  const { pathname } = remoteUrl(uri);
  return pathname.endsWith('/') ? '' : (packingOf(pathname) ?? extname(pathname));
}

function modelInput({ from = '', digest = '', secretRef }: TrainingJobSpec['model'], env: InputEnvironment): Input {
  const hex = hexDigest(digest);
  const secretDir = secretRef && env.WL_MODEL_SECRET_DIR;
  const path = join(sharedFolder(env), hex);
  return { field: 'model.from', words: 'downloading model', uri: from, digest: hex, path, isFolder: true, secretDir };
}

export const shortHash = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 16);
