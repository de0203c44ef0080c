// What a finished job publishes: a ModelVersion, and the Model that it is a version of.
import type { ConditionChange } from '#crds/conditions.ts';
import { label, managedBy } from '#crds/names.ts';
import { group } from '#crds/resource.ts';
import type { Model, ModelVersion, TrainingJob } from '#crds/v1alpha1/index.ts';
import type { PublishedModel } from '#runtime/api/messages.ts';
import { withRemedy } from '../pod-ending.ts';
import { reasonOf } from '../reasons.ts';

const apiVersion = `${group}/v1alpha1`;

/** The version that a job published, if there is one: it is found by the uid of the job, so that there is never a second. */
export function versionOf(job: TrainingJob, versions: readonly ModelVersion[]): ModelVersion | undefined {
  return versions.find((version) => version.spec.source?.uid === job.metadata.uid);
}

/** The line that the job's versions belong to. */
export function newModel(job: TrainingJob): Model {
  return {
    apiVersion,
    kind: 'Model',
    metadata: { name: job.spec.output.model, ...inNamespaceOf(job), labels: { [label.managedBy]: managedBy } },
    spec: {},
  };
}

/**
 * The next version of the model. Its name follows from the versions that exist: whoever makes it from an older view of them takes a
 * name that is taken, and is refused.
 */
export function newVersion(
  job: TrainingJob,
  model: Model,
  versions: readonly ModelVersion[],
  published: PublishedModel,
  modelsClaim: string,
): ModelVersion {
  const name = job.spec.output.model;
  const numbers = versions.filter((version) => version.spec.model === name).map((version) => version.spec.number);
  const names = new Set(versions.map((version) => version.metadata.name));
  let number = Math.max(0, ...numbers) + 1;
  while (names.has(`${name}-${number}`)) number += 1;
  const { digest, path, format, architecture, parameters, contextLength, vocabularySize, bytes, metrics, step, url } = published;
  return {
    apiVersion,
    kind: 'ModelVersion',
    metadata: {
      name: `${name}-${number}`,
      ...inNamespaceOf(job),
      labels: { [label.managedBy]: managedBy, [label.model]: name, [label.job]: job.metadata.name },
      ownerReferences: [{ apiVersion, kind: 'Model', name, uid: model.metadata.uid ?? '' }],
    },
    spec: {
      model: name,
      number,
      uri: `pvc://${modelsClaim}/${job.metadata.namespace ?? 'default'}/${path}`,
      ...(url === undefined ? {} : { url }),
      digest: digest.startsWith('sha256:') ? digest : `sha256:${digest}`,
      format,
      architecture,
      parameters,
      contextLength,
      vocabularySize,
      bytes,
      source: { job: job.metadata.name, uid: job.metadata.uid ?? '', step },
      metrics,
    },
  };
}

function inNamespaceOf(job: TrainingJob): { namespace?: string } {
  return job.metadata.namespace === undefined ? {} : { namespace: job.metadata.namespace };
}

/** What is said of the copy that the job was to put on a server; nothing where none was asked for. */
export function copyCondition(
  job: TrainingJob,
  version: ModelVersion,
  published: PublishedModel | undefined,
): ConditionChange | undefined {
  const { uri } = job.spec.output;
  if (uri === undefined) return undefined;
  const { url } = version.spec;
  if (url !== undefined) return { type: 'Copied', status: 'True', reason: 'Copied', message: `a copy is at ${url}` };
  const fault = published?.copyFault;
  const why = fault ? `${fault.code}: ${withRemedy(fault.message, fault.remedy)}` : 'its pods are gone, and did not say why';
  const message = `${version.metadata.name} is on its claim, but no copy is at ${uri.replace(/\?.*$/, '')}: ${why}`;
  return { type: 'Copied', status: 'False', reason: fault ? reasonOf(fault.code) : 'CopyFailed', message };
}
