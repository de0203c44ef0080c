// Packs layers into an OCI image in one tar archive, as `ctr images import`, skopeo and registries' clients read it.
import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { tar } from './tar.ts';
import type { Entry } from './tar.ts';

export interface ImageConfig {
  readonly entrypoint: readonly string[];
  readonly env?: Record<string, string>;
  /** UID:GID. */
  readonly user: string;
  readonly labels?: Record<string, string>;
}

export interface Image {
  /** sha256 of the manifest: the same contents give the same digest. */
  readonly digest: string;
  /** What a registry or a node would fetch. */
  readonly compressedBytes: number;
  readonly archive: Buffer;
}

/** `name` is what nodes know it by, such as `windlass.dev/windlass:dev`. */
export function packImage(name: string, layers: readonly (readonly Entry[])[], config: ImageConfig): Image {
  const packed = layers.map((entries) => {
    const plain = tar(entries);
    return { diffId: sha256(plain), data: gzipSync(plain, { level: 6 }) };
  });
  const { entrypoint, env = {}, user, labels = {} } = config;
  const settings = json({
    architecture: 'amd64',
    os: 'linux',
    // Of no meaning, and the same in every build.
    created: '1970-01-01T00:00:00Z',
    config: {
      User: user,
      Entrypoint: entrypoint,
      Env: Object.entries(env).map(([key, value]) => `${key}=${value}`),
      WorkingDir: '/',
      Labels: labels,
    },
    rootfs: { type: 'layers', diff_ids: packed.map(({ diffId }) => diffId) },
  });
  const manifest = json({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: descriptor('application/vnd.oci.image.config.v1+json', settings),
    layers: packed.map(({ data }) => descriptor('application/vnd.oci.image.layer.v1.tar+gzip', data)),
  });
  const named = {
    ...descriptor('application/vnd.oci.image.manifest.v1+json', manifest),
    annotations: { 'io.containerd.image.name': name, 'org.opencontainers.image.ref.name': name.split(':').at(-1) ?? 'latest' },
  };
  const blobs = [...packed.map(({ data }) => data), settings, manifest];
  const archive = tar([
    file('oci-layout', json({ imageLayoutVersion: '1.0.0' })),
    file('index.json', json({ schemaVersion: 2, manifests: [named] })),
    ...blobs.map((data) => file(`blobs/${sha256(data).replace(':', '/')}`, data)),
  ]);
  return { digest: sha256(manifest), compressedBytes: blobs.reduce((sum, data) => sum + data.length, 0), archive };
}

const sha256 = (data: Buffer): string => `sha256:${createHash('sha256').update(data).digest('hex')}`;
const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
const file = (path: string, data: Buffer): Entry => ({ path, type: 'file', data });
const descriptor = (mediaType: string, data: Buffer) => ({ mediaType, digest: sha256(data), size: data.length });
