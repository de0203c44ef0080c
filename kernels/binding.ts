// The one typed door to the compute core: loads the addon and gives its functions types that follow from the operation table.
import { createRequire } from 'node:module';
import type { ops as declarations } from './ops.ts';

/** Integers with a generation: a handle of something freed is refused. */
export type TensorHandle = number;
export type StreamHandle = number;
export type EventHandle = number;
export type MapHandle = number;

export type DType = 'f32' | 'i32' | 'u8';
const dtypes: readonly DType[] = ['f32', 'i32', 'u8'];

/**
 * invalid: shapes, handles or values that an operation can't work with; retryable: memory was short, or the stream was cancelled;
 * fatal: the process must be replaced. Thrown at once where the call can see it; otherwise the stream is poisoned until reset, and
 * promises reject with the first error.
 */
export type KernelErrorKind = 'invalid' | 'retryable' | 'fatal';

/** An error of the compute core. `op` is the operation that failed; `outOfMemory` is true where memory was short. */
export class KernelError extends Error {
  readonly kind: KernelErrorKind;
  readonly op: string;
  readonly outOfMemory: boolean;

  constructor(kind: KernelErrorKind, op: string, message: string, outOfMemory = false) {
    super(message);
    this.name = 'KernelError';
    this.kind = kind;
    this.op = op;
    this.outOfMemory = outOfMemory;
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
export type MappedFile = { readonly handle: MapHandle; readonly bytes: number };

type Dims = readonly [ndim: number, d0: number, d1: number, d2: number, d3: number];
type Native = {
  readonly ops: Ops;
  readonly setErrorFactory: (
    make: (kind: KernelErrorKind, op: string, message: string, outOfMemory: boolean) => KernelError,
  ) => void;
  readonly isa: () => 'generic' | 'avx2' | 'avx512';
  readonly threads: () => number;
  readonly packedSize: (n: number, k: number) => number;
  readonly tensorNew: (dtype: number, ...rest: [...Dims, label: string | undefined]) => TensorHandle;
  readonly tensorView: (base: TensorHandle, offset: number, ...dims: Dims) => TensorHandle;
  readonly tensorFree: (tensor: TensorHandle) => void;
  readonly tensorWrite: (stream: StreamHandle, tensor: TensorHandle, data: ArrayBufferView) => void;
  readonly tensorRead: (stream: StreamHandle, tensor: TensorHandle, into: ArrayBufferView) => Promise<void>;
  readonly liveTensors: () => (Omit<LiveTensor, 'dtype'> & { readonly dtype: number })[];
  readonly memoryStats: () => MemoryStats;
  readonly setMemoryLimit: (bytes: number) => void;
  readonly trimMemory: () => void;
  readonly mapOpen: (path: string) => MappedFile;
  readonly mapRead: (map: MapHandle, offset: number, into: ArrayBufferView) => void;
  readonly mapClose: (map: MapHandle) => void;
  readonly writeFromMap: (stream: StreamHandle, tensor: TensorHandle, map: MapHandle, offset: number, bytes: number) => void;
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
  native.setErrorFactory((kind, op, message, outOfMemory) => new KernelError(kind, op, message, outOfMemory));
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

/** A tensor of undefined contents; up to 4 dims, each at least 1. The label shows in liveTensors(). */
export function tensorNew(dtype: DType, shape: readonly number[], label?: string): TensorHandle {
  return native.tensorNew(dtypes.indexOf(dtype), ...dimsOf(shape), label);
}
/** Elements from `offset` of a tensor under another shape; shares its memory, which lives until the last one is freed. */
export function tensorView(base: TensorHandle, offset: number, shape: readonly number[]): TensorHandle {
  return native.tensorView(base, offset, ...dimsOf(shape));
}
/** Frees in stream order: what was enqueued before still runs. */
export const tensorFree = native.tensorFree;
/** Copies the data at once and enqueues the write; the byte length must be that of the tensor. */
export const tensorWrite = native.tensorWrite;
/** Enqueues a copy into `into`, which must not be detached or resized until the promise settles. */
export const tensorRead = native.tensorRead;

/** All tensors of the process that live: what a leak test looks at. */
export function liveTensors(): LiveTensor[] {
  return native.liveTensors().map((tensor) => ({ ...tensor, dtype: dtypes[tensor.dtype] ?? 'u8' }));
}
export const memoryStats = native.memoryStats;
/** Bytes that may be taken from the operating system, 0 for no limit; WL_MEMORY_LIMIT sets it at start. */
export const setMemoryLimit = native.setMemoryLimit;
/** Gives cached memory back to the operating system. */
export const trimMemory = native.trimMemory;

/** Maps a file read-only. */
export const mapOpen = native.mapOpen;
/** Copies `into.byteLength` bytes from `offset` of the file; throws where they are outside of it. */
export const mapRead = native.mapRead;
/** Closes the mapping; what streams still copy from it is not disturbed. */
export const mapClose = native.mapClose;
/** Enqueues a copy of a byte range of the file into the tensor, without passing through JavaScript. */
export const tensorWriteFromMap = native.writeFromMap;

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
