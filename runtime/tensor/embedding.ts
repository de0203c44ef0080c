// Rows chosen by ids: token and position embeddings, and the rows that an inference step goes on with.
import { empty } from './create.ts';
import { ops } from './device.ts';
import { gatherQuantized } from './quantized.ts';
import { activation } from './precision.ts';
import { recordingTape } from './tape.ts';
import { Parameter } from './tensor.ts';
import type { Tensor } from './tensor.ts';
import { localTokens } from './token-share.ts';
import type { TokenShare } from './token-share.ts';
import { WindlassError } from '#runtime/api/errors.ts';

export interface EmbeddingOptions extends TokenShare {
  /** Where `w` holds rows [firstRow, firstRow + V) of a table of `tableRows`: ids of other rows give -0, so that ranks add up to the table. */
  readonly firstRow?: number;
  readonly tableRows?: number;
}

/** y[t] = w[ids[t]]. ids [M] i32, w [V, D] -> [M, D]. */
export function embedding(ids: Tensor, w: Tensor, options: EmbeddingOptions = {}): Tensor {
  const { device } = w;
  const { firstRow = 0, tableRows = w.shape[0] ?? 0 } = options;
  // Rows that come together over ranks are rounded when they have.
  const make = options.tableRows === undefined ? activation : empty;
  const y = make(device, [...ids.shape, w.columns], 'embedding');
  if (w instanceof Parameter && w.quantized) {
    if (options.tableRows !== undefined)
      throw new WindlassError('WL_OP_INVALID', `embedding: ranks can't share the quantised table ${w.label}`);
    gatherQuantized(ids, w.quantized, y);
    return y;
  }
  ops.embedding_forward(device.stream, ids.handle, w.handle, y.handle, firstRow, tableRows);
  const tape = recordingTape(w);
  tape?.push({
    operation: 'embedding',
    outputs: [y],
    saved: [ids],
    backward(gradients) {
      const dy = gradients.of(y);
      if (!dy) return;
      gradients.ofWeights([w], [ids, dy], () => {
        const dw = gradients.into(w);
        const { length, spans } = localTokens(tape, options);
        ops.embedding_backward(
          device.stream,
          ids.handle,
          dy.handle,
          dw.tensor.handle,
          firstRow,
          tableRows,
          length,
          spans,
          dw.accumulate,
        );
      });
    },
  });
  return y;
}

/** y[i] = x[rows[i]]. x [R, K], rows [M] i32 -> [M, K]. Not differentiable. */
export function gatherRows(x: Tensor, rows: Tensor): Tensor {
  const y = empty(x.device, [...rows.shape, x.columns], 'rows', x.dtype);
  ops.gather_rows(x.device.stream, x.handle, rows.handle, y.handle);
  return y;
}
