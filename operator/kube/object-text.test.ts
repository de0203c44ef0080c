import fc from 'fast-check';
import { expect, it } from 'vitest';
import { parseObject } from './object-text.ts';

const withFields = (fields: unknown) => ({
  kind: 'Pod',
  metadata: { name: 'a', managedFields: fields },
  spec: { list: [[1], ']'] },
});

it('leaves out the managed fields, whatever is in them, and nothing else', () => {
  fc.assert(
    fc.property(fc.array(fc.jsonValue()), (fields) => {
      expect(parseObject(JSON.stringify(withFields(fields)))).toEqual(withFields([]));
    }),
  );
});

it('leaves out those of API servers, whose keys hold quotes and brackets', () => {
  const fields = [{ manager: 'kubelet "a\\"', fieldsV1: { 'f:status': { 'k:{"type":"Ready]"}': { '.': {} } } } }, []];
  expect(parseObject(JSON.stringify(withFields(fields)))).toEqual(withFields([]));
});

it('keeps a text that only speaks of managed fields', () => {
  const object = { metadata: { annotations: { last: JSON.stringify(withFields([{ manager: 'kubectl' }])) } } };
  expect(parseObject(JSON.stringify(object))).toEqual(object);
});

it('equals JSON.parse where there are none', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      expect(parseObject(JSON.stringify(value))).toEqual(JSON.parse(JSON.stringify(value)));
    }),
  );
});

it.each(['{"metadata":{"managedFields":[{"a":"b', '{"metadata":{"managedFields":[[]', '{"managedFields":[]', ''])(
  'refuses %s, which is cut',
  (text) => {
    expect(() => parseObject(text)).toThrow(SyntaxError);
  },
);
