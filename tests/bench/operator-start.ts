// The bench of the operator's start: from the start of its container on a real node until it says that it is ready.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { imageName, windlassImage } from '../../hack/oci-image/image.ts';
import { loadImage, startNodeCluster } from '../../hack/test-cluster/cluster.ts';
import { capture } from '../../hack/test-cluster/command.ts';
import { binaryOf } from '../../hack/test-cluster/components.ts';
import { median } from './median.ts';

export interface OperatorStartOptions {
  readonly json: boolean;
  readonly rounds: number;
  /** Other images to start in turns with that of this checkout: archives of `hack/image --name`, by their names. */
  readonly beside: readonly { readonly name: string; readonly archive: string }[];
}

const root = resolve(import.meta.dirname, '../..');
const pollMs = 20;
const clockTicksPerSecond = 100;

export async function benchOperatorStart({ json, rounds, beside }: OperatorStartOptions): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'wl-bench-'));
  const say = (line: string): void => console.error(`operator-start: ${line}`);
  await using cluster = await startNodeCluster({ say });
  const kubectl = (args: readonly string[], input = ''): Promise<string> =>
    capture(binaryOf('kubectl'), ['--kubeconfig', cluster.kubeconfig, ...args], { input });
  try {
    const archive = join(folder, 'image.tar');
    writeFileSync(archive, windlassImage().archive);
    for (const file of [archive, ...beside.map((image) => image.archive)]) await loadImage(cluster, file);
    await kubectl(['apply', '-f', join(root, 'crds')]);
    await kubectl([
      'create',
      'clusterrolebinding',
      'operator',
      '--clusterrole=cluster-admin',
      '--serviceaccount=default:default',
    ]);
    const seconds = new Map<string, number[]>();
    for (let round = 0; round < rounds; round += 1) {
      for (const image of [imageName, ...beside.map(({ name }) => name)]) {
        await kubectl(['apply', '-f', '-'], JSON.stringify(podOf(image)));
        seconds.set(image, [...(seconds.get(image) ?? []), await startOf(kubectl)]);
        await kubectl(['delete', 'pod', 'operator', '--grace-period=0', '--force']);
        await kubectl(['delete', 'lease', 'windlass-operator', '--ignore-not-found']);
      }
    }
    for (const [image, times] of seconds) {
      const figures = {
        name: 'operator-start',
        image,
        seconds: median(times),
        all: times,
        loadAverage: loadavg(),
        node: process.version,
      };
      if (json) console.log(JSON.stringify(figures));
      else
        console.log(
          `${image}: ready ${figures.seconds.toFixed(2)} s after its container started (${times.map((time) => time.toFixed(2)).join(' ')})`,
        );
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function podOf(image: string): object {
  const args = ['operator', `--image=${image}`];
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'operator', namespace: 'default' },
    spec: {
      containers: [
        {
          name: 'operator',
          image,
          args,
          securityContext: { readOnlyRootFilesystem: true, allowPrivilegeEscalation: false },
          volumeMounts: [{ name: 'tmp', mountPath: '/tmp' }],
        },
      ],
      volumes: [{ name: 'tmp', emptyDir: {} }],
    },
  };
}

/** Seconds from the start of the process, as the kernel has it, to the first answer that it is ready. */
async function startOf(kubectl: (args: readonly string[]) => Promise<string>): Promise<number> {
  let address = '';
  for (; address === ''; await sleep(pollMs))
    address = await kubectl(['get', 'pod', 'operator', '-o', 'jsonpath={.status.podIP}']);
  for (;;) {
    const ready = await fetch(`http://${address}:8081/readyz`).then(
      ({ ok }) => ok,
      () => false,
    );
    if (ready) return uptimeSeconds() - startedAtSeconds();
    await sleep(pollMs);
  }
}

const uptimeSeconds = (): number => Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]);

/** Of the newest process that is an operator of the image, after boot (proc(5), field 22 of stat). */
function startedAtSeconds(): number {
  const starts = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        if (!readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('/usr/bin/windlass\0operator')) return [];
        const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
        return [Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]) / clockTicksPerSecond];
      } catch {
        return [];
      }
    });
  return Math.max(...starts);
}
