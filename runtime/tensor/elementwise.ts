// Operations element by element: addition, activations, dropout.
import { empty } from './create.ts';
import { ops } from './device.ts';
import type { Stream } from './stream.ts';
import { activation } from './precision.ts';
import { recordingTape } from './tape.ts';
import type { Tensor } from './tensor.ts';

/** a + b, of equal shapes. */
export function add(a: Tensor, b: Tensor): Tensor {
  const y = activation(a.device, a.shape, 'sum');
  ops.add(a.device.stream, a.handle, b.handle, y.handle);
  recordingTape(a, b)?.push({
    operation: 'add',
    outputs: [y],
    saved: [],
    backward(gradients) {
      const dy = gradients.of(y);
      if (!dy) return;
      gradients.give(a, dy);
      gradients.give(b, dy);
    },
  });
  return y;
}

/** target = target + x, in place, on the stream of the device if none is given. Not differentiable: for gradients and statistics. */
export function addInto(target: Tensor, x: Tensor, stream?: Stream): void {
  ops.add(stream?.handle ?? target.device.stream, target.handle, x.handle, target.handle);
  target.changed();
}

/** gelu(x) = x * Phi(x), exactly or by the tanh approximation (Hendrycks and Gimpel 2016). */
export function gelu(x: Tensor, form: 'tanh' | 'erf'): Tensor {
  const isTanh = form === 'tanh' ? 1 : 0;
  const y = activation(x.device, x.shape, 'gelu');
  ops.gelu_forward(x.device.stream, x.handle, y.handle, isTanh);
  recordingTape(x)?.push({
    operation: 'gelu',
    outputs: [y],
    saved: [x],
    backward(gradients) {
      const dy = gradients.of(y);
      if (!dy) return;
      const dx = empty(x.device, x.shape, 'gradient of gelu');
      ops.gelu_backward(x.device.stream, dy.handle, x.handle, dx.handle, isTanh);
      gradients.give(x, dx);
    },
  });
  return y;
}

/** max(x, 0). */
export function relu(x: Tensor): Tensor {
  const y = activation(x.device, x.shape, 'relu');
  ops.relu_forward(x.device.stream, x.handle, y.handle);
  recordingTape(x)?.push({
    operation: 'relu',
    outputs: [y],
    saved: [y],
    backward(gradients) {
      const dy = gradients.of(y);
      if (!dy) return;
      const dx = empty(x.device, x.shape, 'gradient of relu');
      ops.relu_backward(x.device.stream, dy.handle, y.handle, dx.handle);
      gradients.give(x, dx);
    },
  });
  return y;
}

/** factor * x. */
export function scaled(x: Tensor, factor: number): Tensor {
  const y = activation(x.device, x.shape, 'scaled');
  ops.scale(x.device.stream, x.handle, y.handle, factor);
  recordingTape(x)?.push({
    operation: 'scale',
    outputs: [y],
    saved: [],
    backward(gradients) {
      const dy = gradients.of(y);
      if (!dy) return;
      const dx = empty(x.device, x.shape, 'gradient of scaled');
      ops.scale(x.device.stream, dy.handle, dx.handle, factor);
      gradients.give(x, dx);
    },
  });
  return y;
}

/** silu(gate) * up, the gated unit of Llama (Shazeer 2020, SwiGLU). */
export function siluGate(gate: Tensor, up: Tensor): Tensor {
  return gated(gate, up, { operation: 'gated_silu', forward: ops.gated_silu_forward, backward: ops.gated_silu_backward });
}

/** gelu(gate) * up, by the tanh form (Shazeer 2020, GEGLU). */
export function geluGate(gate: Tensor, up: Tensor): Tensor {
  return gated(gate, up, { operation: 'gated_gelu', forward: ops.gated_gelu_forward, backward: ops.gated_gelu_backward });
}

interface Gate {
  readonly operation: string;
  readonly forward: typeof ops.gated_silu_forward;
  readonly backward: typeof ops.gated_silu_backward;
}

function gated(gate: Tensor, up: Tensor, { operation, forward, backward }: Gate): Tensor {
  const { device } = gate;
  const y = activation(device, gate.shape, operation);
  forward(device.stream, gate.handle, up.handle, y.handle);
  recordingTape(gate, up)?.push({
    operation,
    outputs: [y],
    saved: [gate, up],
    backward(gradients) {
      const dy = gradients.of(y);
      if (!dy) return;
      const dgate = empty(device, gate.shape, 'gradient of gate');
      const dup = empty(device, up.shape, 'gradient of up');
      backward(device.stream, dy.handle, gate.handle, up.handle, dgate.handle, dup.handle);
      gradients.give(gate, dgate);
      gradients.give(up, dup);
    },
  });
  return y;
}

export interface DropoutOptions {
  /** Share of elements that become 0; the others are divided by 1 - probability. */
  readonly probability: number;
  readonly seed: number;
  readonly step: number;
  /** Which dropout of the model this is. */
  readonly site: number;
  /** Index of the first row among the tokens of the step. */
  readonly firstToken: number;
  /**
   * Rows come in runs of consecutive tokens, and the runs begin `stride` tokens apart: a rank that holds positions of every sequence has
   * runs of that many, and the sequence length as stride. Absent: all rows are one run.
   */
  readonly runs?: { readonly run: number; readonly stride: number };
}

/** Dropout with random numbers keyed by (seed, step, site, token), so that a recomputation drops the same. Probability 0 gives x itself. */
export function dropout(x: Tensor, options: DropoutOptions): Tensor {
  const { probability, seed, step, site, firstToken } = options;
  if (probability === 0) return x;
  const rows = x.size / x.columns;
  const { run, stride } = options.runs ?? { run: rows, stride: rows };
  const apply = (from: Tensor, to: Tensor) =>
    ops.dropout(from.device.stream, from.handle, to.handle, probability, seed, step, site, firstToken, run, stride);
  const y = activation(x.device, x.shape, 'dropout');
  apply(x, y);
  recordingTape(x)?.push({
    operation: 'dropout',
    outputs: [y],
    saved: [],
    backward(gradients) {
      const dy = gradients.of(y);
      if (!dy) return;
      const dx = empty(x.device, x.shape, 'gradient of dropout');
      apply(dy, dx);
      gradients.give(x, dx);
    },
  });
  return y;
}
