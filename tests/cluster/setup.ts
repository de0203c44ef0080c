// Starts the API server that all files of the project `cluster` share, once per run.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { build } from '../../hack/test-cluster/build.ts';
import { startApiServer } from '../../hack/test-cluster/cluster.ts';
import type { ClusterAccess, TestCluster } from '../../hack/test-cluster/cluster.ts';
import { prepareAuditLog } from './audit-log.ts';
import { groups } from '../../hack/test-cluster/components.ts';

declare module 'vitest' {
  interface ProvidedContext {
    cluster: ClusterAccess;
    /** File of its audit log. */
    auditLog: string;
  }
}

let cluster: TestCluster | undefined;
let folder: string | undefined;

/** Builds what the files of the project take as well: no test could wait for that. */
export async function setup({ provide }: TestProject): Promise<void> {
  const say = (line: string): void => void process.stderr.write(`cluster: ${line}\n`);
  await build(groups.tests, say);
  folder = await mkdtemp(join(tmpdir(), 'wl-cluster-'));
  const { path, apiServerArgs } = await prepareAuditLog(folder);
  cluster = await startApiServer({ say, apiServerArgs });
  provide('cluster', cluster.access);
  provide('auditLog', path);
}

export async function teardown(): Promise<void> {
  await cluster?.stop();
  if (folder) await rm(folder, { recursive: true });
}
