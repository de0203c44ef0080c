// What tools of GitOps read from our objects: kstatus, in the libraries of kpt and of Flux and Helm, and Argo CD by our health scripts.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { build } from '../../hack/test-cluster/build.ts';
import { capture } from '../../hack/test-cluster/command.ts';
import { binaryOf } from '../../hack/test-cluster/components.ts';
import { models, services } from './gitops/services-and-models.ts';
import { trainingJobs } from './gitops/training-jobs.ts';
import { chart } from './helm.ts';

interface Verdict {
  readonly status: string;
  readonly message: string;
}

const told = [...trainingJobs(), ...services(), ...models()];

await build(['gitops'], (line) => process.stderr.write(`gitops: ${line}\n`));
const kinds = [...new Set(told.map(({ object }) => object.kind))];
const scripts = Object.fromEntries(kinds.map((kind) => [kind, readFileSync(join(chart, `files/argocd/${kind}.lua`), 'utf8')]));
const input = JSON.stringify({ scripts, objects: told.map(({ object }) => object) });
const verdicts = JSON.parse(await capture(binaryOf('gitops'), [], { input })) as Record<'kpt' | 'flux' | 'argo', Verdict>[];

test.each(told.map((state, index) => ({ ...state, index })))(
  '$name is $kstatus, and $argo for Argo CD',
  ({ index, kstatus, argo }) => {
    const { kpt, flux, argo: health } = verdicts[index]!;
    expect({ kpt: kpt.status, flux: flux.status, argo: health.status }).toEqual({ kpt: kstatus, flux: kstatus, argo });
    expect(health.message).not.toBe('');
  },
);

test('every reason that a condition can carry is told in the health message of Argo CD', () => {
  const withReason = told.flatMap(({ object }, index) => {
    const { conditions = [] } =
      (object as { status?: { conditions?: { type: string; status: string; reason: string }[] } }).status ?? {};
    const stalled = conditions.find(({ type, status }) => type === 'Stalled' && status === 'True');
    return stalled && object.metadata.deletionTimestamp === undefined ? [{ index, reason: stalled.reason }] : [];
  });
  expect(withReason.length).toBeGreaterThan(5);
  for (const { index, reason } of withReason) expect(verdicts[index]!.argo.message).toContain(`${reason}: `);
});
