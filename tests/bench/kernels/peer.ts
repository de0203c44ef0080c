// The other side of the benches of single operations: kernels_torch.py as a child process.
import { join } from 'node:path';
import { startLines } from '../line-process.ts';
import { torchEnvironment } from '../torch-environment.ts';
import type { PeerRequest } from './cases.ts';

/** Of a call. */
export interface CallTime {
  readonly seconds: number;
  /** Processor time of all threads: on a busy machine it says more than the wall clock. */
  readonly cpuSeconds: number;
}

export interface KernelPeer {
  readonly versions: Readonly<Record<string, string>>;
  /** By library, measured for about so long each. */
  time(request: PeerRequest, seconds: number): Promise<Readonly<Record<string, CallTime>>>;
  close(): Promise<void>;
}

export async function startKernelPeer(python: string, isa: string, threads: number): Promise<KernelPeer> {
  const script = join(import.meta.dirname, 'kernels_torch.py');
  const lines = startLines(python, [script, String(threads)], torchEnvironment(isa, threads));
  const { versions } = await lines.answer<{ versions: Record<string, string> }>();
  return {
    versions,
    time: (request, seconds) => lines.ask(JSON.stringify({ ...request, seconds })),
    close: () => lines.close(),
  };
}
