import { describe, expect, it } from 'vitest';
import { rewritePath } from './volumes.ts';

const mounts = [
  { mountPath: '/windlass', folder: '/state/a' },
  { mountPath: '/windlass/jobs', folder: '/state/b' },
];

describe('paths of a container', () => {
  it.each([
    ['/windlass/jobs/default/moby', '/state/b/default/moby'],
    ['/windlass/jobs', '/state/b'],
    ['/windlass/jobsite', '/state/a/jobsite'],
    ['/windlassy', '/windlassy'],
    ['/windlass', '/state/a'],
    ['pvc://windlass/jobs', 'pvc://windlass/jobs'],
  ])('%s becomes %s', (value, expected) => {
    expect(rewritePath(value, mounts)).toBe(expected);
  });
});
