// The environment contract: what the operator tells a pod's processes, and nothing else. Checked once, at the start of a process.
import { z } from 'zod';
import { WindlassError } from './errors.ts';

/** Variables of a training pod (agent and rank). */
export const TrainingEnvironment = z.object({
  WL_NAMESPACE: z.string(),
  WL_NAME: z.string(),
  /** uid of the TrainingJob. */
  WL_UID: z.string(),
  /** Counter of gang restarts, from 0; the operator raises it. */
  WL_ATTEMPT: z.coerce.number().int().min(0),
  WL_POD_NAME: z.string(),
  /** In-place restarts of all ranks that the job's budget still allows. */
  WL_MAX_RESTARTS: z.coerce.number().int().min(0).default(0),
  /** Index of the pod. In a world of all pods it is the rank's number too. */
  WL_RANK: z.coerce.number().int().min(0).default(0),
  /** Number of pods. 1: no rendezvous, and none of the variables below is needed. */
  WL_WORLD_SIZE: z.coerce.number().int().min(1).default(1),
  /** Address of this pod: what its rank and, in pod 0, the rendezvous listen on. */
  WL_POD_IP: z.string().optional(),
  /** `HOST:PORT` of the rendezvous, HOST being the DNS name of pod 0. */
  WL_RENDEZVOUS: z
    .string()
    .regex(/^.+:\d+$/, 'must be HOST:PORT')
    .optional(),
  /** Port on which pod 0 serves the rendezvous. */
  WL_RENDEZVOUS_PORT: z.coerce.number().int().min(0).max(65535).optional(),
  /** Lines of `IP NAME`, looked up before DNS at each try. */
  WL_HOSTS_FILE: z.string().optional(),
  /** Secret of the job: authenticates agents and ranks to each other. With WL_CREDENTIALS the operator gives it. */
  WL_SECRET: z.string().min(16).optional(),
  /** Where pods get their credentials, `https://HOST:PORT`; absent in the embedded default, where WL_SECRET is all that pods need. */
  WL_CREDENTIALS: z
    .string()
    .regex(/^https:\/\/[^/]+:\d+$/, 'must be https://HOST:PORT')
    .optional(),
  /** PEM of the authorities that vouch for WL_CREDENTIALS: no secret. */
  WL_CREDENTIALS_CA: z.string().optional(),
  /** The ServiceAccount token that proves to WL_CREDENTIALS which pod this is; the kubelet renews it. */
  WL_TOKEN_FILE: z.string().default('/var/run/secrets/windlass/token'),
  /** spec.faults.hangTimeoutSeconds; absent: 60 s or five median steps, whichever is more. */
  WL_HANG_TIMEOUT_SECONDS: z.coerce.number().positive().optional(),
  /** Smallest and largest world of an elastic job; absent: all pods, always. */
  WL_ELASTIC_MIN: z.coerce.number().int().min(1).optional(),
  WL_ELASTIC_MAX: z.coerce.number().int().min(1).optional(),
  /** How long a pod must be away before the world goes on without it, and back before it grows again. */
  WL_ELASTIC_WAIT_SECONDS: z.coerce.number().min(0).default(5),
  /** The job's effective spec (parsed, defaults filled) as JSON. */
  WL_JOB: z.string(),
  /** Folder for checkpoints, metrics and caches of this job; survives the pod. */
  WL_JOB_DIR: z.string(),
  /** Folder that holds model versions: `<model>/<version>/`. */
  WL_MODELS_DIR: z.string(),
  /** `pvc://<claim>` that WL_MODELS_DIR is the mount of; the published uri starts with it. */
  WL_MODELS_URI: z.string(),
  /** Folders with the keys of the Secrets that data.secretRef, data.tokenizer.secretRef, model.secretRef and output.secretRef name. */
  WL_DATA_SECRET_DIR: z.string().optional(),
  WL_TOKENIZER_SECRET_DIR: z.string().optional(),
  WL_MODEL_SECRET_DIR: z.string().optional(),
  WL_OUTPUT_SECRET_DIR: z.string().optional(),
  /** Where the last words of the container go (JSON of TerminationMessage). */
  WL_TERMINATION_LOG: z.string().default('/dev/termination-log'),
  /** `unix:<socket>` in the embedded default, `nats://HOST:PORT` or `tls://HOST:PORT` in a cluster; absent: no bus, no telemetry. */
  WL_BUS: z
    .string()
    .regex(/^(unix:|(nats|tls):\/\/[^/]+:\d+$)/, 'must be unix:PATH, nats://HOST:PORT or tls://HOST:PORT')
    .optional(),
  /** Folder where the process leaves its part of a profile; absent: none is made. */
  WL_PROFILE: z.string().optional(),
  /** Folder with ca.crt, tls.crt and tls.key for a bus at `tls://`; what WL_CREDENTIALS gives if absent. */
  WL_BUS_CERTIFICATES: z.string().optional(),
});
export type TrainingEnvironment = z.output<typeof TrainingEnvironment>;

/**
 * What a process of the embedded default hears on its IPC channel before its signal to end, when all of the machine ends: no other pod serves in
 * its place.
 */
export const shutDownMessage = 'shutdown';

/** Variables of a serving pod (engine). */
export const ServingEnvironment = z.object({
  WL_NAMESPACE: z.string(),
  WL_NAME: z.string(),
  WL_POD_NAME: z.string(),
  /** The service's effective spec as JSON. */
  WL_SERVICE: z.string(),
  /** Folder of the model to serve (Hugging Face layout); absent where WL_MODEL_URI says what to fetch. */
  WL_MODEL_DIR: z.string().optional(),
  /** Folder on a server, with a list of its files; needs WL_MODEL_DIGEST and WL_MODEL_CACHE. */
  WL_MODEL_URI: z.string().optional(),
  /** Folder with the keys of the Secret that the server wants. */
  WL_MODEL_SECRET_DIR: z.string().optional(),
  /** Name under which the model is served. */
  WL_MODEL_NAME: z.string(),
  /** Another name under which it is asked for. */
  WL_MODEL_ALIAS: z.string().optional(),
  /** sha256 of the version as its ModelVersion says; checked before serving when present. */
  WL_MODEL_DIGEST: z.string().optional(),
  /** Folder that all pods of a node share, where models and their packed weights are kept; absent: the model is read where it is. */
  WL_MODEL_CACHE: z.string().optional(),
  /** Room for all of them there. */
  WL_MODEL_CACHE_BYTES: z.coerce.number().int().min(1).optional(),
  /** Address to bind: the pod's own. */
  WL_POD_IP: z.string(),
  WL_PORT: z.coerce.number().int().min(0).max(65535),
  /** Folder where the process leaves its part of a profile; absent: none is made. */
  WL_PROFILE: z.string().optional(),
  WL_TERMINATION_LOG: z.string().default('/dev/termination-log'),
});
export type ServingEnvironment = z.output<typeof ServingEnvironment>;

/** Reads and checks the variables of a contract. Throws WL_INTERNAL naming each variable that is missing or malformed. */
export function readEnvironment<S extends z.ZodType>(contract: S, env: Record<string, string | undefined>): z.output<S> {
  const parsed = contract.safeParse(env);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; ');
  throw new WindlassError('WL_INTERNAL', `the environment does not follow the contract: ${faults}`);
}
