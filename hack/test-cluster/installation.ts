// What the chart needs on a test cluster before it is installed: images on the nodes, namespaces, claims that all nodes share, and values.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { imageName, windlassImage } from '../oci-image/image.ts';
import { packImage } from '../oci-image/layout.ts';
import { loadImage } from './cluster.ts';
import type { TestCluster } from './cluster.ts';
import { capture } from './command.ts';
import { binaryOf } from './components.ts';
import { namespace, sharedClaim } from './team.ts';

/** Namespaces of the operator and of a team that trains and serves. */
export const system = 'windlass-system';
export const team = 'team';

const busImage = 'windlass.dev/nats:test';

/** Where a cluster is prepared from; `folder` takes the team's files and the values. */
export async function prepareInstallation(cluster: TestCluster, folder: string): Promise<{ values: string }> {
  const bus = [{ path: 'nats-server', type: 'file', data: readFileSync(binaryOf('nats-server')), executable: true }] as const;
  const natsImage = packImage(busImage, [bus], { entrypoint: ['/nats-server'], user: '65532:65532' });
  mkdirSync(folder, { recursive: true });
  for (const [index, { archive }] of [windlassImage(), natsImage].entries()) {
    const file = join(folder, `image-${index}.tar`);
    writeFileSync(file, archive);
    await loadImage(cluster, file);
    rmSync(file);
  }
  const claims = ['jobs', 'models'].flatMap((name) => sharedClaim(team, `windlass-${name}`, join(folder, name)));
  const list = JSON.stringify({ apiVersion: 'v1', kind: 'List', items: [...[system, team].map(namespace), ...claims] });
  await capture(binaryOf('kubectl'), ['--kubeconfig', cluster.kubeconfig, 'create', '-f', '-'], { input: list });
  const [repository, tag] = imageName.split(':');
  const [busRepository, busTag] = busImage.split(':');
  const values = join(folder, 'values.json');
  const settings = { replicas: 2, image: { repository, tag }, nats: { image: { repository: busRepository, tag: busTag } } };
  writeFileSync(values, `${JSON.stringify(settings, undefined, 2)}\n`);
  return { values };
}
