// Starts the API server that all files of the project `cluster` share, once per run.
import type { TestProject } from 'vitest/node';
import { build } from '../../hack/test-cluster/build.ts';
import { startApiServer } from '../../hack/test-cluster/cluster.ts';
import type { ClusterAccess, TestCluster } from '../../hack/test-cluster/cluster.ts';
import { groups } from '../../hack/test-cluster/components.ts';

declare module 'vitest' {
  interface ProvidedContext {
    cluster: ClusterAccess;
  }
}

let cluster: TestCluster | undefined;

/** Builds what the files of the project take as well: no test could wait for that. */
export async function setup({ provide }: TestProject): Promise<void> {
  const say = (line: string): void => void process.stderr.write(`cluster: ${line}\n`);
  await build([...groups.api, 'nats-server'], say);
  cluster = await startApiServer({ say });
  provide('cluster', cluster.access);
}

export async function teardown(): Promise<void> {
  await cluster?.stop();
}
