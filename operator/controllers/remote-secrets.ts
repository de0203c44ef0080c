// Secrets that a spec names for servers, as pods see them: files of one folder, and of the keys only those that are used.
import type { Volume } from '#operator/kube/core.ts';

export interface SecretMount {
  /** Name of the volume. */
  readonly name: string;
  readonly secretName: string;
  readonly mountPath: string;
  /** Variable that tells the process where it is. */
  readonly variable: string;
}

interface Reference {
  readonly name: string;
}

/** Whoever may make jobs but not read Secrets does not get at others by naming them here. */
const keys = ['bearerToken', 'username', 'password', 'ca.crt'] as const;

/** Those of a job or service, by what they open. */
export function secretMounts(references: {
  readonly data?: Reference | undefined;
  readonly tokenizer?: Reference | undefined;
  readonly model?: Reference | undefined;
  readonly output?: Reference | undefined;
}): SecretMount[] {
  return Object.entries(references).flatMap(([use, reference]) =>
    reference === undefined
      ? []
      : [
          {
            name: `${use}-secret`,
            secretName: reference.name,
            mountPath: `/var/run/secrets/windlass-${use}`,
            variable: `WL_${use.toUpperCase()}_SECRET_DIR`,
          },
        ],
  );
}

export function secretVariables(mounts: readonly SecretMount[]): Record<string, string> {
  return Object.fromEntries(mounts.map(({ variable, mountPath }) => [variable, mountPath]));
}

/** Optional, so that the process can say what is missing instead of a pod that never starts. */
export function secretVolume({ name, secretName }: SecretMount): Volume {
  return {
    name,
    secret: { secretName, optional: true, defaultMode: 0o440, items: keys.map((key) => ({ key, path: key })) },
  };
}
