// Cross-entropy where each rank has some rows of the vocabulary: the steps between which ranks exchange a few numbers per token.
// Nothing here is recorded: whoever composes the steps gives the gradients.
import { empty } from './create.ts';
import { ops } from './device.ts';
import type { Tensor } from './tensor.ts';

/** Here are rows [firstRow, firstRow + V) of a vocabulary of `tableRows`: the share of one of 1, 2, 4 or 8 ranks, which may differ by 16. */
export interface VocabularyRows {
  readonly firstRow: number;
  readonly tableRows: number;
}

/** logits = h wT, [M, V], and the largest of each row, [M]; over ranks the maximum of these is next. h [M, D], w [V, D]. */
export function vocabularyLogits(h: Tensor, w: Tensor): { readonly logits: Tensor; readonly maxima: Tensor } {
  const logits = empty(h.device, [...h.leading, w.shape[0] ?? 0], 'logits');
  const maxima = empty(h.device, h.leading, 'largest logits');
  ops.cross_entropy_logits(h.device.stream, h.handle, w.handle, logits.handle, maxima.handle);
  return { logits, maxima };
}

/**
 * Turns logits into exp(logit - maximum over ranks), in place. Returns for each token the sum of these and the logit of its target, -0 where
 * that is on another rank: [M, 2], to be added up over ranks.
 */
export function vocabularyExponentials(logits: Tensor, maxima: Tensor, targets: Tensor, rows: VocabularyRows): Tensor {
  const sums = empty(logits.device, [...logits.leading, 2], 'sums of exponentials');
  const { firstRow, tableRows } = rows;
  ops.cross_entropy_exponentials(
    logits.device.stream,
    logits.handle,
    maxima.handle,
    targets.handle,
    sums.handle,
    firstRow,
    tableRows,
  );
  logits.changed();
  return sums;
}

/**
 * The losses, [M] in nats, 0 where the target is negative; the exponentials become the gradient of `weight * sum(losses)` by the logits,
 * in place. `maxima` and `sums` are those of all ranks.
 */
export function vocabularyLosses(
  exponentials: Tensor,
  maxima: Tensor,
  sums: Tensor,
  targets: Tensor,
  options: { readonly firstRow: number; readonly weight: number },
): Tensor {
  const losses = empty(exponentials.device, targets.shape, 'losses');
  ops.cross_entropy_finish(
    exponentials.device.stream,
    exponentials.handle,
    maxima.handle,
    sums.handle,
    targets.handle,
    losses.handle,
    options.firstRow,
    options.weight,
  );
  exponentials.changed();
  return losses;
}

/** The part of the gradient of h that comes from the rows that are here, [M, D], to be added up over ranks. dlogits [M, V], w [V, D]. */
export function vocabularyInputGradient(dlogits: Tensor, w: Tensor, rows: VocabularyRows): Tensor {
  const dh = empty(w.device, [...dlogits.leading, w.columns], 'gradient of hidden states');
  const { firstRow, tableRows } = rows;
  ops.cross_entropy_backward_input(w.device.stream, dlogits.handle, w.handle, dh.handle, firstRow, tableRows);
  return dh;
}
