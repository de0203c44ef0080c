import { expect, it } from 'vitest';
import type { KubeObject } from '#crds/resource.ts';
import { printObjects, valueAt } from './objects.ts';

const job = {
  apiVersion: 'windlass.dev/v1alpha1',
  kind: 'TrainingJob',
  metadata: { name: 'moby', creationTimestamp: '2026-01-01T00:00:00Z' },
  spec: {},
  status: {
    state: 'Running',
    restarts: 0,
    summary: { ranks: '1/1', step: '12/400', loss: '5.123', tokensPerSecond: '11,234', eta: '1m 08s' },
  },
} as KubeObject;

it('prints the columns of the kind', () => {
  expect(`\n${printObjects([job], 'table', new Date('2026-01-01T00:02:00Z'))}`).toMatchInlineSnapshot(`
    "
    TRAININGJOB  STATE    RANKS  STEP    LOSS   TOK/S   ETA     RESTARTS  AGE
    moby         Running  1/1    12/400  5.123  11,234  1m 08s  0         2m 00s
    "
  `);
});

it('finds the member of a list by a key', () => {
  const object = {
    status: {
      conditions: [
        { type: 'Failed', status: 'False' },
        { type: 'Ready', status: 'True' },
      ],
    },
  };
  expect(valueAt(object, '.status.conditions[?(@.type=="Ready")].status')).toBe('True');
  expect(valueAt(object, '.status.conditions[?(@.type=="Stalled")].status')).toBeUndefined();
  expect(valueAt(object, '.spec.missing.deep')).toBeUndefined();
});

it('prints JSON that programs can read', () => {
  expect(JSON.parse(printObjects([job], 'json', new Date()))).toEqual({ apiVersion: 'v1', kind: 'List', items: [job] });
});
