// Starts the API server that all files of the project `cluster` share, once per run.
import type { TestProject } from 'vitest/node';
import { startApiServer } from '../../hack/test-cluster/cluster.ts';
import type { ClusterAccess, TestCluster } from '../../hack/test-cluster/cluster.ts';

declare module 'vitest' {
  interface ProvidedContext {
    cluster: ClusterAccess;
  }
}

let cluster: TestCluster | undefined;

export async function setup({ provide }: TestProject): Promise<void> {
  cluster = await startApiServer({ say: (line) => process.stderr.write(`cluster: ${line}\n`) });
  provide('cluster', cluster.access);
}

export async function teardown(): Promise<void> {
  await cluster?.stop();
}
