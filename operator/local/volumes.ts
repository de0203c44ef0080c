// Volumes as folders: a claim of the embedded default is a folder of the state directory, and paths in a container's settings follow.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

export interface Mount {
  /** Where the container expects the volume. */
  readonly mountPath: string;
  /** Where it lies on this machine. */
  readonly folder: string;
}

interface VolumeSource {
  readonly name: string;
  readonly persistentVolumeClaim?: { readonly claimName: string };
  readonly emptyDir?: object;
  readonly secret?: { readonly secretName: string; readonly items?: readonly { readonly key: string; readonly path: string }[] };
}

/** Containers get a writable folder here; processes of this machine have one, and rewriting it would hide what users keep there. */
const sharedTemporary = '/tmp';

/** Folder of a claim: shared by all pods of the namespace that name it, and kept when they go. */
export function claimFolder(stateDir: string, namespace: string, claimName: string): string {
  return join(stateDir, 'volumes', namespace, claimName);
}

/** Makes the folders of a pod's volumes. `podDir` holds what dies with the pod. */
export async function mountVolumes(
  options: {
    readonly stateDir: string;
    readonly namespace: string;
    readonly podDir: string;
    /** Values of a Secret in base64; undefined if there is none. */
    readonly secret?: (name: string) => Promise<Readonly<Record<string, string>> | undefined>;
  },
  volumes: readonly VolumeSource[],
  volumeMounts: readonly { readonly name: string; readonly mountPath: string }[],
): Promise<Mount[]> {
  const mounts: Mount[] = [];
  for (const { name, mountPath } of volumeMounts) {
    if (mountPath === sharedTemporary) continue;
    const volume = volumes.find((candidate) => candidate.name === name);
    const claimName = volume?.persistentVolumeClaim?.claimName;
    const folder = claimName
      ? claimFolder(options.stateDir, options.namespace, claimName)
      : join(options.podDir, 'volumes', name);
    await mkdir(folder, { recursive: true, ...(volume?.secret ? { mode: 0o700 } : {}) });
    if (volume?.secret) await writeSecret(folder, volume.secret, await options.secret?.(volume.secret.secretName));
    mounts.push({ mountPath, folder });
  }
  return mounts;
}

/** A file for each key that the volume asks for and the Secret has, for this user's eyes only. */
async function writeSecret(
  folder: string,
  { items }: NonNullable<VolumeSource['secret']>,
  data: Readonly<Record<string, string>> = {},
): Promise<void> {
  const wanted = items ?? Object.keys(data).map((key) => ({ key, path: key }));
  for (const { key, path } of wanted) {
    const value = data[key];
    if (value !== undefined) await writeFile(join(folder, path), Buffer.from(value, 'base64'), { mode: 0o600 });
  }
}

/** `value` with a leading mount path replaced by the folder it stands for; the longest mount path that fits wins. */
export function rewritePath(value: string, mounts: readonly Mount[]): string {
  const fitting = mounts.filter(({ mountPath }) => value === mountPath || value.startsWith(`${mountPath}/`));
  const mount = fitting.sort((a, b) => b.mountPath.length - a.mountPath.length)[0];
  return mount ? mount.folder + value.slice(mount.mountPath.length) : value;
}
