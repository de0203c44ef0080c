// Deletes a child: exactly the one that was seen, and it is no fault if it is gone already.
import type { KubeObject, ResourceType } from '#crds/resource.ts';
import { keyOf } from '#operator/kube/client.ts';
import type { KubeClient } from '#operator/kube/client.ts';
import { Pod } from '#operator/kube/core.ts';
import { isConflict, isNotFound } from '#operator/kube/errors.ts';

export async function deleteObject(client: KubeClient, type: ResourceType, object: KubeObject): Promise<void> {
  await client.delete(type, keyOf(object), { uid: object.metadata.uid }).catch((error: unknown) => {
    if (!isNotFound(error)) throw error;
  });
}

export const deletePod = (client: KubeClient, pod: Pod): Promise<void> => deleteObject(client, Pod, pod);

/** Takes a pod out of the API whatever its node says: what a kubelet does when the containers have ended. */
export async function removePod(client: KubeClient, pod: Pod): Promise<void> {
  await client.delete(Pod, keyOf(pod), { uid: pod.metadata.uid, gracePeriodSeconds: 0 }).catch((error: unknown) => {
    // One of the same name has taken its place: that it is gone is what was wanted.
    if (!isNotFound(error) && !isConflict(error)) throw error;
  });
}
