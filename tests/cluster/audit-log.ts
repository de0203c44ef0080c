// The API server's own record of every write, with who sent it and when it came and was answered.
import { open, writeFile } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';

/** A write as the API server saw it. Times are of its clock, in milliseconds. */
export interface Write {
  readonly agent: string;
  readonly verb: string;
  /** With the subresource: `pods`, `pods/status`. */
  readonly resource: string;
  readonly namespace: string;
  readonly name: string;
  readonly code: number;
  readonly receivedMs: number;
  readonly answeredMs: number;
}

/** What is written down: writes, when they are answered, without their bodies. */
const auditPolicy = {
  apiVersion: 'audit.k8s.io/v1',
  kind: 'Policy',
  omitStages: ['RequestReceived'],
  rules: [{ level: 'Metadata', verbs: ['create', 'update', 'patch', 'delete', 'deletecollection'] }, { level: 'None' }],
};

/** Flags that have an API server keep the log in `folder`, and the log's path. */
export async function prepareAuditLog(folder: string): Promise<{ path: string; apiServerArgs: string[] }> {
  const [policy, path] = [join(folder, 'audit-policy.json'), join(folder, 'audit.log')];
  await writeFile(policy, JSON.stringify(auditPolicy));
  await writeFile(path, '');
  // Megabytes; at the default of 100 the API server goes on in a new file, which nobody would read.
  const size = '--audit-log-maxsize=100000';
  return { path, apiServerArgs: [`--audit-policy-file=${policy}`, `--audit-log-path=${path}`, size] };
}

interface AuditEvent {
  readonly verb: string;
  readonly userAgent?: string;
  readonly objectRef?: {
    readonly resource?: string;
    readonly subresource?: string;
    readonly namespace?: string;
    readonly name?: string;
  };
  readonly responseStatus?: { readonly code?: number };
  readonly requestReceivedTimestamp: string;
  readonly stageTimestamp: string;
}

export class AuditLog {
  readonly #file: FileHandle;
  #at = 0;
  #rest = Buffer.alloc(0);

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  static async open(path: string): Promise<AuditLog> {
    return new AuditLog(await open(path, 'r'));
  }

  /** The writes since the last call, in the order in which they were answered. */
  async read(): Promise<Write[]> {
    const { size } = await this.#file.stat();
    const buffer = Buffer.alloc(size - this.#at);
    await this.#file.read(buffer, 0, buffer.length, this.#at);
    this.#at = size;
    const text = Buffer.concat([this.#rest, buffer]);
    const end = text.lastIndexOf(0x0a) + 1;
    this.#rest = text.subarray(end);
    const lines = text.subarray(0, end).toString('utf8').split('\n').slice(0, -1);
    return lines.map((line) => writeOf(JSON.parse(line) as AuditEvent));
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}

function writeOf({ verb, userAgent = '', objectRef = {}, responseStatus, ...times }: AuditEvent): Write {
  const { resource = '', subresource, namespace = '', name = '' } = objectRef;
  return {
    agent: userAgent,
    verb,
    resource: subresource === undefined ? resource : `${resource}/${subresource}`,
    namespace,
    name,
    code: responseStatus?.code ?? 0,
    receivedMs: Date.parse(times.requestReceivedTimestamp),
    answeredMs: Date.parse(times.stageTimestamp),
  };
}
