import { expect, it } from 'vitest';
import { nextWords } from './words.ts';
import type { CommandWords, Next } from './words.ts';

const target = [
  { flags: ['-n', '--namespace'], takesValue: true },
  { flags: ['--context'], takesValue: true },
  { flags: ['--kubeconfig'], takesValue: true },
];
const commands: CommandWords[] = [
  {
    name: 'status',
    description: 'show',
    options: [
      ...target,
      { flags: ['-o', '--output'], takesValue: true, choices: ['json', 'yaml'] },
      { flags: ['-w', '--watch'], takesValue: false },
    ],
  },
  { name: 'chat', description: 'talk', options: target },
  { name: 'explain', description: 'say', options: [] },
  { name: 'lint', description: 'check', options: [] },
];

/** What follows, in short: words, kinds of names, or what is asked for. */
function next(...line: string[]): string[] | string {
  const found: Next = nextWords(line, commands, ['WL_HANG']);
  if ('words' in found) return found.words.map(([word]) => word);
  if ('ask' in found) return found.ask;
  return `${found.prefix}${found.names.map(({ kind }) => kind).join('|')}${found.kinds ? '|KINDS' : ''}`;
}

it('goes on with commands, names, kinds, flags and their values', () => {
  expect(next('')).toEqual(['status', 'chat', 'explain', 'lint']);
  expect(next('status', '')).toBe('TrainingJob|InferenceService|Model|ModelVersion|KINDS');
  expect(next('get', '')).toBe('TrainingJob|InferenceService|Model|ModelVersion|KINDS');
  expect(next('status', 'tj/m')).toBe('tj/TrainingJob');
  expect(next('status', 'tj', 'm')).toBe('TrainingJob');
  expect(next('status', 'tj/moby', '')).toEqual([]);
  expect(next('chat', '')).toBe('InferenceService');
  expect(next('status', '-w', 'tj', '')).toBe('TrainingJob');
  expect(next('status', '-n', 'team', '')).toBe('TrainingJob|InferenceService|Model|ModelVersion|KINDS');
  expect(next('status', '-n', '')).toBe('namespaces');
  expect(next('status', '--context', '')).toBe('contexts');
  expect(next('status', '--kubeconfig', '')).toBe('files');
  expect(next('status', '-o', 'j')).toEqual(['json', 'yaml']);
  expect(next('status', '--w')).toContain('--watch');
  expect(next('explain', '')).toEqual(['WL_HANG']);
  expect(next('lint', '')).toBe('files');
  expect(next('nothing', '')).toEqual([]);
});
