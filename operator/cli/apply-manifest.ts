// Brings an object of the API to what its manifest says.
import { isConditionTrue } from '#crds/conditions.ts';
import { TrainingJob } from '#crds/v1alpha1/index.ts';
import { deepEqual } from '#crds/rules.ts';
import type { KubeClient } from '#operator/kube/client.ts';
import { isConflict, isInvalid, isNotFound } from '#operator/kube/errors.ts';
import type { Manifest } from '#operator/kube/manifest.ts';
import { WindlassError } from '#runtime/api/errors.ts';

/**
 * Creates the object, or gives an existing one the spec, labels and annotations of the manifest. A job that failed is made anew: whoever
 * runs it again has mended the cause, and it goes on from its last checkpoint. Throws WL_FIELD_IMMUTABLE naming the field.
 */
export async function applyManifest(client: KubeClient, manifest: Manifest): Promise<void> {
  const { resource, object, file, line } = manifest;
  const { name, namespace = 'default', labels, annotations } = object.metadata;
  const place = resource.namespaced ? { namespace } : {};
  for (;;) {
    try {
      const existing = await client.get(resource, { name, ...place }).catch((error: unknown) => {
        if (isNotFound(error)) return undefined;
        throw error;
      });
      const hasFailed = resource.kind === TrainingJob.kind && isConditionTrue((existing ?? {}) as TrainingJob, 'Failed');
      if (existing && hasFailed) await client.delete(resource, { name, ...place }, { uid: existing.metadata.uid });
      if (!existing || hasFailed) {
        await client.create(resource, { ...object, metadata: { ...object.metadata, ...place } });
        return;
      }
      const metadata = {
        ...existing.metadata,
        labels: { ...existing.metadata.labels, ...labels },
        annotations: { ...existing.metadata.annotations, ...annotations },
      };
      const content = contentOf(object);
      if (
        !deepEqual(
          [contentOf(existing), existing.metadata.labels ?? {}, existing.metadata.annotations ?? {}],
          [content, metadata.labels, metadata.annotations],
        )
      )
        await client.update(resource, { ...existing, ...content, metadata });
      return;
    } catch (error) {
      if (isConflict(error)) continue;
      if (!isInvalid(error)) throw error;
      const message = `${file}:${line}: ${resource.kind} ${name} exists and is not changed: ${error.message}`;
      throw new WindlassError('WL_FIELD_IMMUTABLE', message, { cause: error });
    }
  }
}

/** What people write of an object besides its metadata: the spec, or what a kind without one has. */
function contentOf(object: object): object {
  const { apiVersion: _, kind: __, metadata: ___, status: ____, ...content } = object as Record<string, unknown>;
  return content;
}
