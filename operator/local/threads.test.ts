import { expect, it } from 'vitest';
import type { Pod } from '#operator/kube/core.ts';
import { threadShare } from './threads.ts';

const pod = (world?: string) =>
  ({ spec: { containers: [{ env: world === undefined ? [] : [{ name: 'WL_WORLD_SIZE', value: world }] }] } }) as Pod;

it('shares the cores out among the ranks of a job, and leaves everybody one', () => {
  expect(['2', '3', '8', '64'].map((world) => threadShare(pod(world), 8, {}).WL_THREADS)).toEqual(['4', '2', '1', '1']);
});

it('leaves a pod that is alone, and a machine that has its own mind, to themselves', () => {
  expect([threadShare(pod(), 8, {}), threadShare(pod('1'), 8, {}), threadShare(pod('4'), 8, { WL_THREADS: '2' })]).toEqual([
    {},
    {},
    {},
  ]);
});
