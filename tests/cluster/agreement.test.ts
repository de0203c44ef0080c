// zod and the API server are of one mind: what one accepts the other accepts, with the same defaults.
import { beforeAll, describe, expect, it } from 'vitest';
import { richTrainingJob } from '#crds/fixtures.ts';
import { validate } from '#crds/faults.ts';
import { resources } from '#crds/v1alpha1/index.ts';
import { applyCrd, servedCrd, tryCreate } from './api.ts';
import { manifestsOf } from './specs.ts';
import type { Manifest } from './specs.ts';

/** WL_SPECS=10000 is the full measure; the seed makes a run the same as another. */
const count = Number(process.env['WL_SPECS'] ?? 300);
const seed = Number(process.env['WL_SEED'] ?? 1);
const parallel = 16;

beforeAll(async () => {
  for (const resource of resources) await applyCrd(resource);
  for (const resource of resources) await servedCrd(resource);
});

describe.each(resources.map((resource) => [resource.kind, resource] as const))('%s', (kind, resource) => {
  it(`is accepted by zod if and only if by the API server, in ${count} generated specs, with the same defaults`, async () => {
    const manifests = manifestsOf(resource, kind === 'TrainingJob' ? richTrainingJob : resource.definition.example, count, seed);
    const disagreements: object[] = [];
    let accepted = 0;
    const compare = async (manifest: Manifest) => {
      const ours = validate(resource, manifest);
      const { status, body } = await tryCreate(resource, manifest);
      // Anything but these two is not about the manifest.
      expect([201, 400, 422], body.message).toContain(status);
      const theirs = status === 201 ? { spec: body.spec } : { refused: true };
      const said = ours.ok ? { spec: ours.object.spec } : { refused: true };
      if (ours.ok) accepted++;
      try {
        expect(theirs).toEqual(said);
      } catch {
        disagreements.push({
          manifest,
          zod: ours.ok ? ours.object.spec : ours.faults,
          server: status === 201 ? body.spec : body.message,
        });
      }
    };
    const queue = manifests.values();
    await Promise.all(
      Array.from({ length: parallel }, async () => {
        for (const manifest of queue) await compare(manifest);
      }),
    );
    expect(disagreements.slice(0, 5), `${disagreements.length} disagreements`).toEqual([]);
    // A generator whose specs are all refused, or all accepted, would find nothing.
    expect(accepted).toBeGreaterThan(count / 20);
    expect(accepted).toBeLessThan(count);
  }, 1_800_000);
});
