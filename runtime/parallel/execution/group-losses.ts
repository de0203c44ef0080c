// Cross-entropy with the head cut over the vocabulary: ranks exchange a maximum, a sum and a logit for each token, never logits.
import {
  giveWeightGradient,
  recordingTape,
  vocabularyExponentials,
  vocabularyInputGradient,
  vocabularyLogits,
  vocabularyLosses,
} from '#runtime/tensor/main.ts';
import type { Communicator, Stream, Tensor, VocabularyRows } from '#runtime/tensor/main.ts';

export interface GroupLossOptions {
  readonly group: Communicator;
  readonly stream: Stream;
  /** Rows of the head that are here. */
  readonly rows: VocabularyRows;
  /** Factor of the gradients. */
  readonly weight: number;
}

/**
 * Losses in nats, 0 where the target is negative. h [M, D] and targets [M] are the same on all ranks, w [V of this rank, D] -> [M]. The
 * gradient of h is this rank's part of a sum over the group. Shoeybi et al. 2019, section 3; the bits are those of `crossEntropy`.
 */
export function groupLosses(h: Tensor, w: Tensor, targets: Tensor, { group, stream, rows, weight }: GroupLossOptions): Tensor {
  const tape = recordingTape(h, w);
  const { logits, maxima } = vocabularyLogits(h, w);
  group.allReduce(stream, maxima, 'max', 'largest logits');
  const sums = vocabularyExponentials(logits, maxima, targets, rows);
  group.allReduce(stream, sums, 'sum', 'softmax sums');
  const losses = vocabularyLosses(logits, maxima, sums, targets, { firstRow: rows.firstRow, weight });
  tape?.push({
    operation: 'cross_entropy',
    outputs: [losses],
    saved: [logits, h, w],
    startsBackward: true,
    backward(gradients) {
      gradients.give(h, vocabularyInputGradient(logits, w, rows));
      giveWeightGradient(gradients, tape, h, logits, w, undefined);
    },
  });
  return losses;
}
