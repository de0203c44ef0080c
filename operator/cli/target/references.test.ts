import { expect, it } from 'vitest';
import { kindNamed, parseReference } from './references.ts';

it.each([
  ['tj', 'TrainingJob'],
  ['TrainingJob', 'TrainingJob'],
  ['trainingjobs.windlass.dev', 'TrainingJob'],
  ['jobs', 'TrainingJob'],
  ['isvc', 'InferenceService'],
  ['services', 'InferenceService'],
  ['model', 'Model'],
  ['modelversions', 'ModelVersion'],
  ['clustertrainingruntime', 'ClusterTrainingRuntime'],
  ['pods', undefined],
])('%s names the kind %s', (word, kind) => {
  expect(kindNamed(word)?.kind).toBe(kind);
});

it('reads KIND/NAME, KIND NAME, KIND and NAME, and a name that is the word of a kind where a name is wanted', () => {
  const read = (words: string[], nameFirst = false) => {
    const { kind, name } = parseReference(words, { nameFirst });
    return [kind?.kind, name];
  };
  expect(read(['tj/moby'])).toEqual(['TrainingJob', 'moby']);
  expect(read(['tj', 'moby'])).toEqual(['TrainingJob', 'moby']);
  expect(read(['tj'])).toEqual(['TrainingJob', undefined]);
  expect(read(['moby'])).toEqual([undefined, 'moby']);
  expect(read(['model'], true)).toEqual([undefined, 'model']);
  expect(read(['all'])).toEqual([undefined, undefined]);
  expect(() => read(['pods/moby'])).toThrow(/^pods is no kind of Windlass; there are: tj, isvc,/);
  expect(() => read(['tj', 'one', 'two'])).toThrow('tj one two names several objects; give one, as KIND/NAME');
});
