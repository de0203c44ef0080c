// What a TrainingJob does about faults: of processes and machines, and of numbers.
import { z } from 'zod';
import { FaultRules } from './fault-rules.ts';

export const Faults = z
  .strictObject({
    rules: FaultRules.optional(),
    maxRestarts: z.int().min(0).max(10_000).default(3).describe('Restarts after faults that may pass, before the job fails.'),
    hangTimeoutSeconds: z
      .int()
      .min(1)
      .max(86_400)
      .optional()
      .describe(
        'Time without a step after which a rank counts as hanging and is replaced. If absent: 60 s or 5 times the median step, whichever is longer.',
      ),
    nonFinite: z
      .enum(['stop', 'rollback'])
      .default('stop')
      .describe(
        'What a loss or gradient that is NaN or infinite leads to: stop fails the job; rollback goes back to the newest checkpoint, and fails the job only if it comes again at the same step.',
      ),
    gradientSpike: z
      .strictObject({
        factor: z
          .number()
          .gt(1)
          .max(1_000_000)
          .describe('A gradient norm this many times the running mean of the newest steps is a spike.'),
        action: z
          .enum(['stop', 'rollback', 'skip'])
          .default('skip')
          .describe(
            'stop fails the job; rollback goes back to the newest checkpoint, and fails the job only if it comes again at the same step; skip leaves the update of the step out.',
          ),
      })
      .optional()
      .describe('Watches the gradient norm for spikes. Not watched if absent.'),
    checkGradientsEverySteps: z
      .int()
      .min(1)
      .max(100_000_000)
      .optional()
      .describe(
        'Steps between two comparisons of what ranks hold in common, by digest: finds memory that flips bits. What one rank alone holds must be as the update before left it. Never if absent.',
      ),
  })
  .describe(
    'What happens when a pod or rank fails, hangs, or computes what can not be. Read when the pods start, but for maxRestarts.',
  );
