// Volumes as folders: a claim of the embedded default is a folder of the state directory, and paths in a container's settings follow.
import { mkdir } from 'node:fs/promises';
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
}

/** Containers get a writable folder here; processes of this machine have one, and rewriting it would hide what users keep there. */
const sharedTemporary = '/tmp';

/** Folder of a claim: shared by all pods of the namespace that name it, and kept when they go. */
export function claimFolder(stateDir: string, namespace: string, claimName: string): string {
  return join(stateDir, 'volumes', namespace, claimName);
}

/** Makes the folders of a pod's volumes. `podDir` holds what dies with the pod. */
export async function mountVolumes(
  options: { readonly stateDir: string; readonly namespace: string; readonly podDir: string },
  volumes: readonly VolumeSource[],
  volumeMounts: readonly { readonly name: string; readonly mountPath: string }[],
): Promise<Mount[]> {
  const mounts: Mount[] = [];
  for (const { name, mountPath } of volumeMounts) {
    if (mountPath === sharedTemporary) continue;
    const claimName = volumes.find((volume) => volume.name === name)?.persistentVolumeClaim?.claimName;
    const folder = claimName
      ? claimFolder(options.stateDir, options.namespace, claimName)
      : join(options.podDir, 'volumes', name);
    await mkdir(folder, { recursive: true });
    mounts.push({ mountPath, folder });
  }
  return mounts;
}

/** `value` with a leading mount path replaced by the folder it stands for; the longest mount path that fits wins. */
export function rewritePath(value: string, mounts: readonly Mount[]): string {
  const fitting = mounts.filter(({ mountPath }) => value === mountPath || value.startsWith(`${mountPath}/`));
  const mount = fitting.sort((a, b) => b.mountPath.length - a.mountPath.length)[0];
  return mount ? mount.folder + value.slice(mount.mountPath.length) : value;
}
