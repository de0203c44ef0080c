// What a TrainingJob learns from: texts and the tokenizer that reads them.
import { z } from 'zod';
import { oneOfMembers } from '../rules.ts';
import { pathPattern } from './model-config.ts';

const dataUriPattern = /^(sample:\/\/[a-z0-9]([-a-z0-9]*[a-z0-9])?|file:\/\/\/.+|[^:]+)$/;

const Tokenizer = oneOfMembers({
  train: z
    .strictObject({
      vocabularySize: z
        .int()
        .min(257)
        .max(1_000_000)
        .describe('Tokens of the vocabulary: 256 bytes, the end-of-text token, and merges.'),
    })
    .describe('Trains a byte-level BPE tokenizer on the data.'),
  uri: z
    .string()
    .min(1)
    .max(4096)
    .regex(pathPattern, 'must be a path or file:///PATH')
    .describe('A tokenizer.json, or a folder that holds one.'),
}).describe("The tokenizer. The model's own if absent, which needs model.from.");

export const TrainingData = z
  .strictObject({
    uri: z
      .string()
      .min(1)
      .max(4096)
      .regex(dataUriPattern, 'must be sample://NAME, file:///PATH or a path')
      .describe(
        'A .txt or .jsonl file or a folder of them: a path, file:///PATH, or sample://NAME for a text that comes with the installation.',
      ),
    field: z.string().min(1).max(256).default('text').describe('Field of each line that holds the text, in .jsonl files.'),
    heldOut: z.number().min(0).max(0.5).default(0.05).describe('Share of the data that is kept for evaluation, 0 to 0.5.'),
    tokenizer: Tokenizer.optional(),
  })
  .describe('What the model learns from.');
export type TrainingData = z.output<typeof TrainingData>;
