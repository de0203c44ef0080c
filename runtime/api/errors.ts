// The one table of error codes. Every error that a user can meet has a code, a cause and a remedy; docs/errors.md is generated from it.

type ErrorEntry = {
  readonly cause: string;
  readonly remedy: string;
  readonly exit: 'userError' | 'retryable' | 'rankLost' | 'dataCorrupt' | 'deviceLost' | 'follow';
};

export const errorTable = {
  WL_MANIFEST_INVALID: {
    cause: 'A manifest has an unknown field, a wrong type or a value out of range.',
    remedy: 'Mend the field at the path and line given; `windlass lint FILE` checks without running.',
    exit: 'userError',
  },
  WL_MANIFEST_UNREADABLE: {
    cause: 'A manifest could not be read or is not YAML.',
    remedy: 'Check the path and the YAML at the line given.',
    exit: 'userError',
  },
  WL_FILE_MISSING: {
    cause: 'A file or folder that the object names does not exist.',
    remedy: 'Check the path; relative paths count from the manifest.',
    exit: 'userError',
  },
  WL_FILE_EXISTS: {
    cause: 'A file or folder that was to be written is there already.',
    remedy: 'Choose another name, or delete it first.',
    exit: 'userError',
  },
  WL_CLUSTER_ACCESS: {
    cause: 'No API server could be found, or the kubeconfig or service account can not be used.',
    remedy: 'Give --kubeconfig and --context, or run in a pod with a service account.',
    exit: 'userError',
  },
  WL_CLUSTER_UNREADY: {
    cause: 'The API server does not answer, or lacks the CRDs or permissions that the operator needs.',
    remedy: 'The log names the kind and the answer; install the CRDs, and check the role of the service account.',
    exit: 'retryable',
  },
  WL_LEADERSHIP_LOST: {
    cause: 'The lease by which one of several operators leads could not be renewed in time, and another operator has taken it.',
    remedy: 'Nothing if it passes: another operator goes on, and this one starts again. Else check the API server.',
    exit: 'retryable',
  },
  WL_CREDENTIALS: {
    cause: 'A training pod got no credentials from the operator: it is away, or does not know the pod.',
    remedy:
      'The message says what the operator answered; see that it runs, and that a NetworkPolicy lets pods of jobs reach its Service.',
    exit: 'retryable',
  },
  WL_DATA_EMPTY: {
    cause: 'The data holds too little text for one training sequence and a held-out part.',
    remedy: 'Add text, or lower task.pretrain.batch.length.',
    exit: 'userError',
  },
  WL_DATA_INVALID: {
    cause: 'A data file is not what its name says, or lacks the field asked for.',
    remedy: 'Mend the file at the line given, or set data.field.',
    exit: 'userError',
  },
  WL_DIGEST_MISMATCH: {
    cause: 'A file or list of files that a server sent is not the one that the digest was made of.',
    remedy:
      'If the file on the server is the right one, give its digest, which the message names; else put the file back that the digest is of.',
    exit: 'userError',
  },
  WL_REMOTE_REFUSED: {
    cause: 'A server refused for good, or answered with what is not taken: a bad certificate, redirect, encoding, size or list.',
    remedy:
      'The message names address and answer; check the address, and the Secret of secretRef if the server wants credentials or has an authority of its own.',
    exit: 'userError',
  },
  WL_REMOTE_UNAVAILABLE: {
    cause:
      'A server could not be reached, broke off or asked to wait, again and again, until nothing had come for eight minutes.',
    remedy:
      'See that the address is right and that the network, its proxy and NetworkPolicies let pods reach it; what has been fetched is kept, and the next try goes on from it.',
    exit: 'retryable',
  },
  WL_SECRET_INVALID: {
    cause: 'The Secret that a secretRef names does not exist, or holds none of the keys that are used.',
    remedy:
      'Create it in the namespace of the object: bearerToken, or username and password; ca.crt for an authority of its own.',
    exit: 'retryable',
  },
  WL_TOKENIZER_INVALID: {
    cause: 'tokenizer.json, or the tokenizer in a GGUF file, is malformed or of a kind that is not supported.',
    remedy: 'Use a byte-level BPE tokenizer.json, a GGUF file with one or with SentencePiece, or train one.',
    exit: 'userError',
  },
  WL_TOKENIZER_MISMATCH: {
    cause: 'The tokenizer has more tokens than the model has embeddings, or is not the one that the checkpoint was trained with.',
    remedy: 'Use the tokenizer of the model, or a model whose vocabulary size fits.',
    exit: 'userError',
  },
  WL_MODEL_INVALID: {
    cause: 'A model folder or file is incomplete, malformed or of a family that is not supported.',
    remedy: 'The message names the missing, left over or misshapen tensor, or the config key.',
    exit: 'userError',
  },
  WL_MODEL_CORRUPT: {
    cause: 'The files of a model version are not those that its digest was made of.',
    remedy: 'Restore the folder, or serve another version of the model.',
    exit: 'dataCorrupt',
  },
  WL_SAFETENSORS_INVALID: {
    cause: 'A safetensors file breaks the format: header, offsets or sizes.',
    remedy: 'Fetch or export the file again.',
    exit: 'dataCorrupt',
  },
  WL_GGUF_INVALID: {
    cause: 'A GGUF file breaks the format: its head, or the offsets and sizes of tensors.',
    remedy: 'The message has the fault and its byte; fetch or convert the file again.',
    exit: 'dataCorrupt',
  },
  WL_CHECKPOINT_CORRUPT: {
    cause: 'A checkpoint file does not match its checksum or manifest.',
    remedy: 'The newest good checkpoint is used; delete the folder named if it is of no use.',
    exit: 'dataCorrupt',
  },
  WL_CHECKPOINT_MISMATCH: {
    cause: 'The checkpoint belongs to another model, data or task than the job asks for.',
    remedy: 'Give the job another name or output, or undo the change to its spec.',
    exit: 'userError',
  },
  WL_DISK_FULL: {
    cause: 'The disk is full or over quota; the last complete checkpoint is untouched.',
    remedy: 'Free the number of bytes given; the job goes on by itself.',
    exit: 'retryable',
  },
  WL_IO: {
    cause: 'The operating system refused to read or write a file.',
    remedy: 'See the cause; check rights and the disk.',
    exit: 'retryable',
  },
  WL_LOSS_NOT_FINITE: {
    cause: 'The loss or gradient norm became NaN or infinite.',
    remedy: 'Lower the learning rate, lengthen the warm-up, or clip harder; the last checkpoint is from before the step given.',
    exit: 'userError',
  },
  WL_GRADIENT_SPIKE: {
    cause: 'The gradient norm was far above its running mean.',
    remedy: 'Look at the data of the step given, lower the learning rate, or raise faults.gradientSpike.factor.',
    exit: 'userError',
  },
  WL_REPLICAS_DIFFER: {
    cause: 'Ranks that hold the same weights found that they are not the same: memory or a processor of one of them is faulty.',
    remedy: 'All ranks start again from the newest checkpoint; if it repeats on the rank named, take its machine out of use.',
    exit: 'dataCorrupt',
  },
  WL_MEMORY_CHANGED: {
    cause: 'A rank found that weights or moments changed between two updates, when nothing writes them: its memory is faulty.',
    remedy: 'All ranks start again from the newest checkpoint; if it repeats on the rank named, take its machine out of use.',
    exit: 'dataCorrupt',
  },
  WL_OUT_OF_MEMORY: {
    cause: 'Memory for a tensor could not be allocated.',
    remedy: 'Lower batch.sequences or batch.length, set recompute: block, or give the pod more memory.',
    exit: 'userError',
  },
  WL_RANK_LOST: {
    cause: 'A rank lost a peer: its process or pod ended, or its connection broke.',
    remedy:
      'All ranks start again from the newest checkpoint by themselves; status.lastFailure names the rank that was lost first.',
    exit: 'rankLost',
  },
  WL_PEER_FAILED: {
    cause: 'Another rank failed while it did something for all.',
    remedy: 'See the error of the rank named; this one ended because of it.',
    exit: 'follow',
  },
  WL_HANG: {
    cause:
      'A rank gave no sign of life, or did not enter a collective that the others wait in, for longer than the hang timeout.',
    remedy:
      'The rank is replaced and training goes on; if it repeats, check the machine of the pod named, or raise faults.hangTimeoutSeconds.',
    exit: 'rankLost',
  },
  WL_RENDEZVOUS: {
    cause: 'The pods of a job did not find each other in time.',
    remedy:
      'The message names the address or the pods that are missing; check that they run and that the network lets them talk.',
    exit: 'retryable',
  },
  WL_COLLECTIVE_MISMATCH: {
    cause: 'Ranks called different collectives at the same place, or with different sizes.',
    remedy: 'This is a fault of Windlass; please report it with the message, which names both call sites.',
    exit: 'deviceLost',
  },
  WL_OP_INVALID: {
    cause: 'An operation was called with shapes, types or handles that do not fit.',
    remedy: 'This is a fault of Windlass; please report it with the message.',
    exit: 'deviceLost',
  },
  WL_DEVICE_LOST: {
    cause: 'The compute core failed and cannot go on.',
    remedy: 'The process is replaced; if it repeats, check the machine.',
    exit: 'deviceLost',
  },
  WL_PORT_TAKEN: {
    cause: 'The address to listen on is in use.',
    remedy: 'Stop what listens there, or set spec.port.',
    exit: 'retryable',
  },
  WL_STATE_IN_USE: {
    cause: 'Another windlass runs on this state folder.',
    remedy: 'Use --state DIR, or `windlass stop` first.',
    exit: 'userError',
  },
  WL_STATE_CORRUPT: {
    cause: 'The stored objects of a state folder are damaged.',
    remedy: 'Put the file of the state before in its place, as the message says, or use another --state DIR.',
    exit: 'dataCorrupt',
  },
  WL_NO_TARGET: {
    cause: 'There is neither a state folder nor a cluster that the command could talk to.',
    remedy:
      'Name a state folder with --state, or a cluster with --kubeconfig or $KUBECONFIG; `windlass run -f FILE` makes a folder.',
    exit: 'userError',
  },
  WL_NOT_RUNNING: {
    cause: 'No windlass runs on this state folder.',
    remedy: 'Start one with `windlass run -f FILE`, or name its folder with --state.',
    exit: 'userError',
  },
  WL_NOT_ANSWERING: {
    cause: 'A running windlass, or a service of it, does not answer.',
    remedy:
      'See operator.log in the state folder and `windlass logs NAME`; end the process and run again: it goes on where it was.',
    exit: 'retryable',
  },
  WL_OBJECT_NOT_FOUND: {
    cause: 'No object of that kind and name exists.',
    remedy: '`windlass status` lists what there is.',
    exit: 'userError',
  },
  WL_FORBIDDEN: {
    cause: 'The API server refused, because you lack a right.',
    remedy:
      'The message names verb and resource; the roles windlass-view and windlass-edit of the chart hold what commands need.',
    exit: 'userError',
  },
  WL_HAS_ENDED: {
    cause: 'A job has ended, so that it can not be paused, resumed or restarted.',
    remedy: 'Delete it and apply its manifest again: it goes on from its last checkpoint. Or create a job of another name.',
    exit: 'userError',
  },
  WL_WAIT_TIMEOUT: {
    cause: 'What a command waited for did not happen in time.',
    remedy: '`windlass status KIND/NAME` says what it waits for; give more --timeout, or leave --wait out.',
    exit: 'retryable',
  },
  WL_CONFLICT: {
    cause: 'The object changed between read and write.',
    remedy: 'Read it again and repeat the change.',
    exit: 'retryable',
  },
  WL_FIELD_IMMUTABLE: {
    cause: 'A field that may not change after creation was changed.',
    remedy: 'Delete the object first, or give the new one another name.',
    exit: 'userError',
  },
  WL_REQUEST_INVALID: {
    cause: 'A request to the server is malformed or a parameter is out of range.',
    remedy: 'The message names the parameter and its limit.',
    exit: 'userError',
  },
  WL_REQUEST_TOO_LARGE: {
    cause: 'A request is larger than the limits allow.',
    remedy: 'The message names the limit.',
    exit: 'userError',
  },
  WL_PROMPT_TOO_LONG: {
    cause: 'Prompt and requested tokens exceed the context length.',
    remedy: 'Shorten the prompt or lower max_tokens.',
    exit: 'userError',
  },
  WL_LOGITS_NOT_FINITE: {
    cause: 'The model computed NaN or infinite values for a request.',
    remedy: 'The weights are damaged or the training diverged; serve another version of the model.',
    exit: 'userError',
  },
  WL_OVERLOADED: {
    cause: 'The queue of waiting requests is full.',
    remedy: 'Retry after the time in the Retry-After header.',
    exit: 'retryable',
  },
  WL_LOADING: {
    cause: 'The server has started but its model is not loaded yet.',
    remedy: 'Retry after the time in the Retry-After header; /ready says when the model answers.',
    exit: 'retryable',
  },
  WL_DRAINING: {
    cause: 'The server is shutting down and takes no new requests.',
    remedy: 'Retry; another replica answers.',
    exit: 'retryable',
  },
  WL_USAGE: {
    cause: 'A command line has an unknown option or lacks an argument.',
    remedy: 'See `windlass COMMAND --help`.',
    exit: 'userError',
  },
  WL_INTERNAL: { cause: 'A fault inside Windlass.', remedy: 'Please report it with the log.', exit: 'deviceLost' },
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof errorTable;

export function isErrorCode(code: string | undefined): code is ErrorCode {
  return code !== undefined && Object.hasOwn(errorTable, code);
}

/** An error with a code of the table. `message` says what happened, to which object, field, file or rank, observed versus needed. */
export class WindlassError extends Error {
  readonly code: ErrorCode;
  /** Values that programs may want: `path`, `line`, `file`, `limit`. */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, options: { cause?: unknown; details?: Record<string, unknown> } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'WindlassError';
    this.code = code;
    this.details = options.details ?? {};
  }

  get remedy(): string {
    return errorTable[this.code].remedy;
  }
}

export function isWindlassError(error: unknown): error is WindlassError {
  return error instanceof WindlassError;
}

/** Turns anything thrown into an error with a code; what the operating system says about full disks and missing files keeps its meaning. */
export function toWindlassError(error: unknown): WindlassError {
  if (isWindlassError(error)) return error;
  const cause = error instanceof Error ? error : new Error(String(error));
  const systemCode = 'code' in cause ? String(cause.code) : '';
  const bySystemCode: Record<string, ErrorCode> = {
    ENOENT: 'WL_FILE_MISSING',
    ENOTDIR: 'WL_FILE_MISSING',
    ENOSPC: 'WL_DISK_FULL',
    EDQUOT: 'WL_DISK_FULL',
    EIO: 'WL_IO',
    EROFS: 'WL_IO',
    EACCES: 'WL_IO',
    EPERM: 'WL_IO',
    EADDRINUSE: 'WL_PORT_TAKEN',
  };
  const code = bySystemCode[systemCode];
  return new WindlassError(code ?? 'WL_INTERNAL', cause.message, { cause });
}
