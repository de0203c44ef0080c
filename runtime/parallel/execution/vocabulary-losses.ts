// Cross-entropy with the head cut over the vocabulary: ranks exchange a maximum, a sum and a logit for each token, never logits.
import {
  linearWeightGradient,
  recordingTape,
  vocabularyInputGradient,
  vocabularyLogits,
  vocabularyLoss,
  vocabularySums,
} from '#runtime/tensor/main.ts';
import type { Communicator, Stream, Tensor } from '#runtime/tensor/main.ts';

export interface VocabularyLossOptions {
  readonly group: Communicator;
  readonly stream: Stream;
  /** Factor of the gradients. */
  readonly weight: number;
  /** Spans of each sum over the vocabulary that are this rank's. */
  readonly spans: number;
  /** Rows of the head that are here, and of all ranks. */
  readonly rows: { readonly first: number; readonly count: number; readonly all: number };
}

/**
 * Losses in nats, 0 where the target is negative. h [M, D] and targets [M] are the same on all ranks, w [V of this rank, D] -> [M]. The
 * gradient of h is this rank's part of a sum over the group. Shoeybi et al. 2019, section 3; the bits are those of `crossEntropy`.
 */
export function vocabularyLosses(h: Tensor, w: Tensor, targets: Tensor, options: VocabularyLossOptions): Tensor {
  const { group, stream, weight } = options;
  const tape = recordingTape(h, w);
  const table = { firstRow: options.rows.first, tableRows: options.rows.all, spans: options.spans };
  const { logits, maximum } = vocabularyLogits(h, w);
  group.allReduce(stream, maximum, 'max', 'largest logits');
  const sums = vocabularySums(logits, maximum, targets, table);
  group.allReduce(stream, sums, 'sum', 'softmax sums');
  const losses = vocabularyLoss(logits, maximum, sums, targets, { ...table, weight });
  if (!tape) return losses;
  const dh = vocabularyInputGradient(logits, w, table);
  const dw = linearWeightGradient(logits, h, tape.length);
  tape.push({
    operation: 'cross_entropy',
    outputs: [losses],
    saved: [dh, dw],
    startsBackward: true,
    backward(gradients) {
      gradients.give(h, dh);
      gradients.give(w, dw);
    },
  });
  return losses;
}
