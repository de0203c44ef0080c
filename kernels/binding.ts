// The one typed door to the compute core: loads the addon and gives its functions types that follow from the operation table.
import { createRequire } from 'node:module';
import type { ops as declarations } from './ops.ts';

/** Integers with a generation: a handle of something freed is refused. */
export type TensorHandle = number;
export type StreamHandle = number;
export type EventHandle = number;
export type MapHandle = number;

export type DType = 'f32' | 'i32' | 'u8' | 'bf16';

/** What kernels are compiled for, from the fewest instructions to the most, as `WL_ISA` names it. */
export const instructionSets = ['generic', 'avx2', 'avx512', 'amx'] as const;
export type InstructionSet = (typeof instructionSets)[number];

/**
 * invalid: shapes, handles or values that an operation can't work with; retryable: memory was short, or the stream was cancelled;
 * fatal: the process must be replaced. Thrown at once where the call can see it; otherwise the stream is poisoned until reset, and
 * promises reject with the first error.
 */
export type KernelErrorKind = 'invalid' | 'retryable' | 'fatal';

/**
 * Why a collective failed. mismatch: ranks disagree about an operation; timeout: a peer was silent for the deadline; peerLost: a peer
 * has ended; aborted: commAbort, or a collective on a stream that had failed before. `peer` is a rank of the communicator.
 */
export type CommFailure = { readonly reason: 'mismatch' | 'timeout' | 'peerLost' | 'aborted'; readonly peer?: number };

/**
 * An error of the compute core. `op` is the operation that failed; `outOfMemory` is true where memory was short; `comm` is there where
 * a communicator failed.
 */
export class KernelError extends Error {
  readonly kind: KernelErrorKind;
  readonly op: string;
  readonly outOfMemory: boolean;
  readonly comm?: CommFailure;

  constructor(kind: KernelErrorKind, op: string, message: string, outOfMemory = false, comm?: CommFailure) {
    super(message);
    this.name = 'KernelError';
    this.kind = kind;
    this.op = op;
    this.outOfMemory = outOfMemory;
    if (comm) this.comm = comm;
  }
}

type Declarations = typeof declarations;
export type OpName = keyof Declarations;

type ArgOf<Form extends string> = Form extends 'i64' | 'f32'
  ? number
  : Form extends `list ${string}`
    ? Uint32Array
    : Form extends `${'in' | 'out' | 'inout'}? ${string}`
      ? TensorHandle | null
      : TensorHandle;

type ArgsOf<List extends readonly unknown[]> = {
  -readonly [At in keyof List]: List[At] extends readonly [string, infer Form extends string] ? ArgOf<Form> : never;
};

/** The arguments of an operation, in the order of the table. */
export type OpArgs<Name extends OpName> = ArgsOf<Declarations[Name]['args']>;

/** Checks its arguments, enqueues and returns; throws KernelError of kind invalid, with the shapes, where they do not fit. */
export type Ops = { readonly [Name in OpName]: (stream: StreamHandle, ...args: OpArgs<Name>) => void };

export type LiveTensor = {
  readonly handle: TensorHandle;
  readonly label: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly bytes: number;
  readonly view: boolean;
};

/** Bytes held by tensors and scratch (live), kept for reuse (cached), and taken from the operating system (what the limit is about). */
export type MemoryStats = {
  readonly liveBytes: number;
  readonly peakBytes: number;
  readonly cachedBytes: number;
  readonly systemBytes: number;
  readonly limitBytes: number;
  readonly systemAllocations: number;
  readonly liveTensors: number;
};

export type ProfileEntry = { readonly op: string; readonly calls: number; readonly milliseconds: number };
/** Something that a stream did, or `idle`. Nanoseconds of the clock of process.hrtime. */
export type StreamEvent = {
  readonly op: string;
  readonly stream: StreamHandle;
  readonly beginNs: number;
  readonly endNs: number;
};
export type MappedFile = { readonly handle: MapHandle; readonly bytes: number };

/** Element types of collectives; those that tensors do not have are bytes of a u8 tensor. */
export type CommDType = DType | 'f64' | 'f16' | 'i64';
/** By their numbers, which tensors and collectives share; the last is that of a view by `tensorViewRounded`. */
const dtypes = ['f32', 'i32', 'u8', 'f64', 'f16', 'bf16', 'i64', 'f32'] as const satisfies readonly CommDType[];
export type Reduction = 'sum' | 'max' | 'min';
const reductions: readonly Reduction[] = ['sum', 'max', 'min'];
export type Transport = 'auto' | 'process' | 'shm' | 'tcp';
const transports: readonly Transport[] = ['auto', 'process', 'shm', 'tcp'];

export type CommHandle = number;
export type ListenerHandle = number;

export type CommOptions = {
  readonly listener: ListenerHandle;
  readonly rank: number;
  readonly size: number;
  /** endpoints[i] is what the listener of rank i has given. */
  readonly endpoints: readonly string[];
  /** The same on all ranks, as are epoch and secret. */
  readonly name: string;
  readonly epoch: number;
  readonly secret: string;
  /** For connecting, and for how long an operation waits without any progress. */
  readonly deadlineMs: number;
  readonly transport?: Transport;
  /** Whether what goes over TCP goes through TLS, in which both sides prove with the secret who they are. The same on all ranks. */
  readonly tls?: boolean;
};

/** One operation of a communicator. Times are milliseconds since 1970, 0 for what has not happened; peer is -1 where there is none. */
export type CommRecord = {
  readonly epoch: number;
  readonly group: string;
  readonly rank: number;
  readonly sequence: number;
  readonly op: string;
  readonly dtype: CommDType;
  readonly count: number;
  readonly peer: number;
  readonly site: string;
  readonly bytesSent: number;
  readonly enqueuedMs: number;
  readonly startedMs: number;
  readonly endedMs: number;
  readonly state: 'queued' | 'running' | 'done' | 'failed';
};

type OnComm = readonly [stream: StreamHandle, comm: CommHandle];
type NativeComm = {
  readonly commListen: (
    address: string | undefined,
    sockets: number,
  ) => { readonly handle: ListenerHandle; readonly endpoint: string };
  readonly commCloseListener: (listener: ListenerHandle) => void;
  readonly commOpen: (
    listener: ListenerHandle,
    rank: number,
    size: number,
    endpoints: readonly string[],
    name: string,
    epoch: number,
    secret: string,
    deadlineMs: number,
    transport: number,
    tls: number,
  ) => CommHandle;
  readonly commReady: (comm: CommHandle) => Promise<void>;
  readonly commSplit: (comm: CommHandle, ranks: readonly number[], name: string) => CommHandle;
  readonly commAbort: (comm: CommHandle, message: string) => void;
  readonly commFree: (comm: CommHandle) => void;
  readonly commFarewell: () => Promise<void>;
  readonly commBytesSent: (comm: CommHandle) => number;
  readonly commLog: () => CommRecord[];
  readonly allReduce: (
    ...args: [...OnComm, x: TensorHandle, y: TensorHandle, reduction: number, as: number, site: string]
  ) => void;
  readonly reduceScatter: NativeComm['allReduce'];
  readonly allGather: (...args: [...OnComm, x: TensorHandle, y: TensorHandle, as: number, site: string]) => void;
  readonly broadcast: (...args: [...OnComm, x: TensorHandle, root: number, as: number, site: string]) => void;
  readonly reduce: (
    ...args: [...OnComm, x: TensorHandle, y: TensorHandle | null, root: number, reduction: number, as: number, site: string]
  ) => void;
  readonly allToAll: NativeComm['allGather'];
  readonly allToAllV: (
    ...args: [
      ...OnComm,
      x: TensorHandle,
      y: TensorHandle,
      sendCounts: readonly number[],
      recvCounts: readonly number[],
      as: number,
      site: string,
    ]
  ) => void;
  readonly send: NativeComm['broadcast'];
  readonly receive: NativeComm['broadcast'];
  readonly barrier: (...args: [...OnComm, site: string]) => void;
};

type Dims = readonly [ndim: number, d0: number, d1: number, d2: number, d3: number];
type Native = {
  readonly ops: Ops;
  readonly comm: NativeComm;
  readonly setErrorFactory: (
    make: (
      kind: KernelErrorKind,
      op: string,
      message: string,
      outOfMemory: boolean,
      reason: CommFailure['reason'] | '',
      peer: number,
    ) => KernelError,
  ) => void;
  readonly isa: () => InstructionSet;
  readonly threads: () => number;
  readonly packedSize: (n: number, k: number) => number;
  readonly packVersion: () => number;
  readonly quantizedBytes: (type: number, elements: number) => number;
  readonly quantizedPanelBytes: (type: number, n: number, k: number) => number;
  readonly tensorNew: (dtype: number, ...rest: [...Dims, label: string | undefined]) => TensorHandle;
  readonly tensorView: (base: TensorHandle, offset: number, ...dims: Dims) => TensorHandle;
  readonly tensorViewRounded: (base: TensorHandle, offset: number, ...dims: Dims) => TensorHandle;
  readonly tensorFree: (tensor: TensorHandle) => void;
  readonly tensorWrite: (stream: StreamHandle, tensor: TensorHandle, data: ArrayBufferView) => void;
  readonly tensorRead: (stream: StreamHandle, tensor: TensorHandle, into: ArrayBufferView) => Promise<void>;
  readonly liveTensors: () => (Omit<LiveTensor, 'dtype'> & { readonly dtype: number })[];
  readonly memoryStats: () => MemoryStats;
  readonly setMemoryLimit: (bytes: number) => void;
  readonly trimMemory: () => void;
  readonly mapOpen: (path: string) => MappedFile;
  readonly mapTensor: (
    map: MapHandle,
    offset: number,
    dtype: number,
    ...rest: [...Dims, label: string | undefined]
  ) => TensorHandle;
  readonly mapRead: (map: MapHandle, offset: number, into: ArrayBufferView) => void;
  readonly mapClose: (map: MapHandle) => void;
  readonly writeFromMap: (stream: StreamHandle, tensor: TensorHandle, map: MapHandle, offset: number, bytes: number) => void;
  readonly readFile: (stream: StreamHandle, tensor: TensorHandle, file: number, position: number) => Promise<number>;
  readonly checksum: (stream: StreamHandle, data: ArrayBufferView, finite: boolean) => Promise<number>;
  readonly digest: (stream: StreamHandle, tensors: Uint32Array) => Promise<number>;
  readonly streamNew: () => StreamHandle;
  readonly streamFree: (stream: StreamHandle) => void;
  readonly streamReset: (stream: StreamHandle) => void;
  readonly sync: (stream: StreamHandle) => Promise<void>;
  readonly eventNew: () => EventHandle;
  readonly eventFree: (event: EventHandle) => void;
  readonly eventRecord: (event: EventHandle, stream: StreamHandle) => void;
  readonly eventWait: (event: EventHandle, stream: StreamHandle) => void;
  readonly measureFmaPeak: (stream: StreamHandle, threads: number) => Promise<number>;
  readonly measureBandwidth: (stream: StreamHandle, threads: number) => Promise<number>;
  readonly profile: (on: boolean) => void;
  readonly profileRead: () => ProfileEntry[];
  readonly trace: (capacity: number) => void;
  readonly traceRead: (capacity: number) => { readonly events: StreamEvent[]; readonly seen: number };
};

const addonPath = '../build/native/windlass.node';

function load(): Native {
  let native: Native;
  try {
    native = createRequire(import.meta.url)(addonPath) as Native;
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
    const words = cause instanceof Error ? cause.message : String(cause);
    const message =
      code === 'MODULE_NOT_FOUND' ? 'the native addon is not built; run hack/setup' : `the native addon does not load: ${words}`;
    throw Object.assign(new KernelError('fatal', 'start', message), { cause });
  }
  native.setErrorFactory((kind, op, message, outOfMemory, reason, peer) => {
    const failure = reason === '' ? undefined : { reason, ...(peer < 0 ? {} : { peer }) };
    return new KernelError(kind, op, message, outOfMemory, failure);
  });
  return native;
}

const native = load();

function dimsOf(shape: readonly number[]): Dims {
  return [shape.length, shape[0] ?? 1, shape[1] ?? 1, shape[2] ?? 1, shape[3] ?? 1];
}

/** The operations of kernels/ops.ts. */
export const ops: Ops = native.ops;

/** The instruction set that the kernels in use are compiled for; WL_ISA caps it. */
export const isa = native.isa;
/** Threads that share the work of one operation: WL_THREADS, or the cores of this process. */
export const threads = native.threads;
/** Elements that linear_pack writes for a weight of [n, k]. */
export const packedSize = native.packedSize;
/** Rises whenever packing comes to write other bytes for the same weight. */
export const packVersion = native.packVersion();
/** Bytes of so many elements of a GGUF type (its number) in whole blocks; -1 where it is no type of these kernels, or the last block would not be full. */
export const quantizedBytes = native.quantizedBytes;
/** Bytes that quantized_pack writes for a weight of [n, k]; -1 as in quantizedBytes. */
export const quantizedPanelBytes = native.quantizedPanelBytes;

/** A tensor of undefined contents; up to 4 dims, each at least 1. The label shows in liveTensors(). */
export function tensorNew(dtype: DType, shape: readonly number[], label?: string): TensorHandle {
  return native.tensorNew(dtypes.indexOf(dtype), ...dimsOf(shape), label);
}
/** Elements from `offset` of a tensor under another shape; shares its memory, which lives until the last one is freed. */
export function tensorView(base: TensorHandle, offset: number, shape: readonly number[]): TensorHandle {
  return native.tensorView(base, offset, ...dimsOf(shape));
}
/** tensorView of an f32 tensor, for operations that take f32 or bf16: they read each element as the bf16 nearest to it. */
export function tensorViewRounded(base: TensorHandle, offset: number, shape: readonly number[]): TensorHandle {
  return native.tensorViewRounded(base, offset, ...dimsOf(shape));
}
/** Frees in stream order: what was enqueued before still runs. */
export const tensorFree = native.tensorFree;
/** Copies the data at once and enqueues the write; the byte length must be that of the tensor. */
export const tensorWrite = native.tensorWrite;
/** Enqueues a copy into `into`, which must not be detached or resized until the promise settles. */
export const tensorRead = native.tensorRead;

/** All tensors of the process that live: what a leak test looks at. */
export function liveTensors(): LiveTensor[] {
  return native.liveTensors().map((tensor) => ({ ...tensor, dtype: (dtypes[tensor.dtype] ?? 'u8') as DType }));
}
export const memoryStats = native.memoryStats;
/** Bytes that may be taken from the operating system, 0 for no limit; WL_MEMORY_LIMIT sets it at start. */
export const setMemoryLimit = native.setMemoryLimit;
/** Gives cached memory back to the operating system. */
export const trimMemory = native.trimMemory;

/** Maps a file read-only. */
export const mapOpen = native.mapOpen;
/**
 * A tensor over the bytes of the file from `offset`, a multiple of 64, without a copy. It can be read and not written; the mapping stays until it
 * is freed, whether closed or not.
 */
export function mapTensor(map: MapHandle, offset: number, dtype: DType, shape: readonly number[], label?: string): TensorHandle {
  return native.mapTensor(map, offset, dtypes.indexOf(dtype), ...dimsOf(shape), label);
}
/** Copies `into.byteLength` bytes from `offset` of the file; throws where they are outside of it. */
export const mapRead = native.mapRead;
/** Closes the mapping; what streams still copy from it is not disturbed. */
export const mapClose = native.mapClose;
/** Enqueues a copy of a byte range of the file into the tensor, without passing through JavaScript. */
export const tensorWriteFromMap = native.writeFromMap;

/**
 * Fills the tensor with the bytes from `position` of an open file, given by its descriptor, which may be closed after the call. Resolves with
 * their CRC-32, or -1 where the file ends before. A file that can't be read rejects and does not poison the stream.
 */
export const readFile = native.readFile;
/**
 * CRC-32 of memory, which must not be detached or resized until the promise settles. With `finite`, -1 where one of the f32 values in it is
 * NaN or infinite.
 */
export const checksum = native.checksum;
/** A number that two lists of tensors have in common if all their bytes are equal, and almost surely only then. Means nothing by itself. */
export const digest = native.digest;

/** A FIFO with a thread of its own. It holds 4096 commands; an enqueue that finds it full waits. */
export const newStream = native.streamNew;
/** What is enqueued still runs. */
export const freeStream = native.streamFree;
/** Ends the poison of the first error for what is enqueued from now on. */
export const resetStream = native.streamReset;
/** Resolves when everything enqueued so far is done; rejects with the first error of the stream. */
export const sync = native.sync;

export const newEvent = native.eventNew;
export const freeEvent = native.eventFree;
/** Marks the end of what the stream holds now. */
export const recordEvent = native.eventRecord;
/** What is enqueued on the stream from now on runs after the mark. */
export const waitEvent = native.eventWait;

/** Highest fp32 multiply-add rate of the vector units in use, in GFLOP/s. Takes some 100 ms of the stream. */
export function measureFmaPeak(stream: StreamHandle, threadCount: number = threads()): Promise<number> {
  return native.measureFmaPeak(stream, threadCount);
}
/** Rate of reading memory far larger than the caches, in GB/s. Takes some 100 ms of the stream and 128 MiB for each thread. */
export function measureBandwidth(stream: StreamHandle, threadCount: number = threads()): Promise<number> {
  return native.measureBandwidth(stream, threadCount);
}

/** Turns the table of wall time per operation on (from zero) or off. */
export const profile = native.profile;
/** The table, most time first. */
export const readProfile = native.profileRead;

/** Starts to record what each stream does when, up to so many events, and forgets those before; 0 stops and keeps them. */
export const trace = native.trace;
/**
 * Up to so many events, in the order in which they ended, and how many there were, those included that found no room. What a stream did last is
 * among them once it has begun something else.
 */
export const readTrace = native.traceRead;

/**
 * Opens a place where peers connect. `address` is the IP address to bind for peers on other hosts; without it peers must be on this host.
 * The endpoint is an opaque text of at most 512 bytes that goes to the peers.
 */
export function commListen(options: { readonly address?: string; readonly sockets?: number } = {}): {
  readonly handle: ListenerHandle;
  readonly endpoint: string;
} {
  return native.comm.commListen(options.address, options.sockets ?? 2);
}
/** Communicators that are open stay so. */
export const commCloseListener = native.comm.commCloseListener;

/** Returns at once and connects in the background; operations enqueued before it is ready wait. */
export function commOpen(options: CommOptions): CommHandle {
  const { listener, rank, size, endpoints, name, epoch, secret, deadlineMs, transport = 'auto', tls = false } = options;
  const way = transports.indexOf(transport);
  return native.comm.commOpen(listener, rank, size, endpoints, name, epoch, secret, deadlineMs, way, Number(tls));
}
/** Resolves when all peers are connected; rejects with the error that names who is missing. */
export const commReady = native.comm.commReady;
/**
 * A communicator of some ranks of the parent, in their new order, with channels of its own. All of them must make it, without waiting for
 * each other; splits of equal name and ranks are told apart by their order.
 */
export const commSplit = native.comm.commSplit;
/** Fails what waits in the communicator and in its splits, here and on its peers, with this message. */
export const commAbort = native.comm.commAbort;
/** What is enqueued still runs; splits stay. */
export const commFree = native.comm.commFree;
/**
 * Resolves when all communicators that were given back have left, and peers have what was sent to them, or have been silent for the deadline.
 * To be awaited before the process ends: what it has not handed over by then is lost.
 */
export const commFarewell = native.comm.commFarewell;
/** Payload bytes sent to peers through the communicator so far. */
export const commBytesSent = native.comm.commBytesSent;
/** The newest 4,096 operations of the process, oldest first. */
export const commLog = native.comm.commLog;

/** Code of `as`; without it, a tensor's own type. */
const asOf = (as: CommDType | undefined): number => (as === undefined ? -1 : dtypes.indexOf(as));

/**
 * Collectives. They are checked and enqueued like operations and run on the stream's thread; sums are added in the balanced tree over ranks.
 * `site` is a short label of the call site; `as` takes the bytes of u8 tensors for another type.
 */
export const comm = {
  /** y = reduction of x over all ranks; y may be x. */
  allReduce(
    stream: StreamHandle,
    on: CommHandle,
    x: TensorHandle,
    y: TensorHandle,
    reduction: Reduction,
    site: string,
    as?: CommDType,
  ): void {
    native.comm.allReduce(stream, on, x, y, reductions.indexOf(reduction), asOf(as), site);
  },
  /** y = own slice of the reduction; x has size times the elements of y, which may be the own slice of x. */
  reduceScatter(
    stream: StreamHandle,
    on: CommHandle,
    x: TensorHandle,
    y: TensorHandle,
    reduction: Reduction,
    site: string,
    as?: CommDType,
  ): void {
    native.comm.reduceScatter(stream, on, x, y, reductions.indexOf(reduction), asOf(as), site);
  },
  /** y = the x of all ranks, in their order; x may be the own slice of y. */
  allGather(stream: StreamHandle, on: CommHandle, x: TensorHandle, y: TensorHandle, site: string, as?: CommDType): void {
    native.comm.allGather(stream, on, x, y, asOf(as), site);
  },
  broadcast(stream: StreamHandle, on: CommHandle, x: TensorHandle, root: number, site: string, as?: CommDType): void {
    native.comm.broadcast(stream, on, x, root, asOf(as), site);
  },
  /** y of the root = reduction of x, and may be x; elsewhere y is not touched and may be null. */
  reduce(
    stream: StreamHandle,
    on: CommHandle,
    x: TensorHandle,
    y: TensorHandle | null,
    root: number,
    reduction: Reduction,
    site: string,
    as?: CommDType,
  ): void {
    native.comm.reduce(stream, on, x, y, root, reductions.indexOf(reduction), asOf(as), site);
  },
  /** Slice i of y = own slice of the x of rank i. */
  allToAll(stream: StreamHandle, on: CommHandle, x: TensorHandle, y: TensorHandle, site: string, as?: CommDType): void {
    native.comm.allToAll(stream, on, x, y, asOf(as), site);
  },
  /** sendCounts[i] elements go to rank i and recvCounts[i] come from it, packed in rank order. */
  allToAllV(
    stream: StreamHandle,
    on: CommHandle,
    x: TensorHandle,
    y: TensorHandle,
    sendCounts: readonly number[],
    recvCounts: readonly number[],
    site: string,
    as?: CommDType,
  ): void {
    native.comm.allToAllV(stream, on, x, y, sendCounts, recvCounts, asOf(as), site);
  },
  /** Messages of a pair arrive in order; a small one is on its way before the peer receives. */
  send(stream: StreamHandle, on: CommHandle, x: TensorHandle, peer: number, site: string, as?: CommDType): void {
    native.comm.send(stream, on, x, peer, asOf(as), site);
  },
  receive(stream: StreamHandle, on: CommHandle, x: TensorHandle, peer: number, site: string, as?: CommDType): void {
    native.comm.receive(stream, on, x, peer, asOf(as), site);
  },
  barrier(stream: StreamHandle, on: CommHandle, site: string): void {
    native.comm.barrier(stream, on, site);
  },
};
