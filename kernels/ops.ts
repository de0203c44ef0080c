// The operations of the compute core, each declared once: C ABI, checks, Node-API glue and TypeScript types follow from this table.
//
// An argument is a name and a form:
//   'in f32 ...M K'   a tensor that is read: dtype, then symbolic dims. Equal symbols must have equal sizes; a first dim written
//                     '...M' stands for all leading dims folded into one.
//   'out ...'         a tensor that is overwritten;  'inout ...' one that is read and written
//   'in? ...'         a tensor that may be absent (null)
//   a dtype is f32, i32, u8 for blocks and panels of quantised weights and for pages of a cache, or f32|bf16 where either will do: read as f32,
//                     rounded when written
//   'list f32'        several tensors of any shape (a Uint32Array of handles); lists of one operation pair up by index and size
//   'i64' | 'f32'     a scalar
//
// Rows are tokens. `length` is the sequence length: rows = sequences * length, and sums over tokens use it for their spans.
// `unit` is what spans of a contraction are made of: 16, or the head size where the dimension is made of heads.
// `spans` is the most spans that a contraction has here (cpu/spans.h): 8 alone, 8 / n where n ranks share it evenly.

export const ops = {
  // -- memory
  fill: {
    doc: 'x = value',
    args: [
      ['x', 'out f32 ...M'],
      ['value', 'f32'],
    ],
  },
  copy: {
    doc: 'y = x',
    args: [
      ['x', 'in f32|bf16 ...M'],
      ['y', 'out f32|bf16 ...M'],
    ],
  },
  add: {
    doc: 'y = a + b, element by element; y may be a or b',
    args: [
      ['a', 'in f32|bf16 ...M'],
      ['b', 'in f32|bf16 ...M'],
      ['y', 'out f32|bf16 ...M'],
    ],
  },
  scale: {
    doc: 'y = factor * x; y may be x',
    args: [
      ['x', 'in f32|bf16 ...M'],
      ['y', 'out f32|bf16 ...M'],
      ['factor', 'f32'],
    ],
  },
  normal: {
    doc: 'x = mean + std * N(0, 1), Philox keyed by (seed, stream) and the element index',
    args: [
      ['x', 'out f32 ...M'],
      ['mean', 'f32'],
      ['std', 'f32'],
      ['seed', 'i64'],
      ['stream', 'i64'],
    ],
  },
  gather_rows: {
    doc: 'y[i] = x[rows[i]]',
    args: [
      ['x', 'in f32|bf16 R K'],
      ['rows', 'in i32 M'],
      ['y', 'out f32|bf16 M K'],
    ],
  },

  // -- embedding
  embedding_forward: {
    doc: 'y[t] = w[ids[t] - first_row]; -0, to be added up over ranks, where the row of the table of table_rows is not here',
    args: [
      ['ids', 'in i32 ...M'],
      ['w', 'in f32|bf16 V D'],
      ['y', 'out f32|bf16 ...M D'],
      ['first_row', 'i64'],
      ['table_rows', 'i64'],
    ],
    needs: ['first_row >= 0', 'table_rows >= V', 'first_row <= table_rows - V'],
  },
  embedding_backward: {
    doc: 'dw[v] = sum of dy[t] over tokens t with ids[t] = first_row + v, in token spans; added to dw when accumulate is 1',
    args: [
      ['ids', 'in i32 ...M'],
      ['dy', 'in f32 ...M D'],
      ['dw', 'inout f32 V D'],
      ['first_row', 'i64'],
      ['table_rows', 'i64'],
      ['length', 'i64'],
      ['spans', 'i64'],
      ['accumulate', 'i64'],
    ],
    needs: ['first_row >= 0', 'table_rows >= V', 'first_row <= table_rows - V'],
  },

  // -- linear: y = x wT + bias
  linear_forward: {
    doc: 'y = x wT + bias; contraction over K in spans of whole units. Where x or w is bf16 it is a product of bf16 (cpu/gemm.h)',
    args: [
      ['x', 'in f32|bf16 ...M K'],
      ['w', 'in f32|bf16 N K'],
      ['bias', 'in? f32 N'],
      ['y', 'out f32|bf16 ...M N'],
      ['unit', 'i64'],
      ['spans', 'i64'],
    ],
  },
  linear_backward_input: {
    doc: 'dx = dy w + dy2 w2 + dy3 w3 as one contraction over N, N2, N3: span by span, in whole units; added to dx when accumulate is 1. All w are stored in one way; with bf16 ones dy is read as bf16',
    args: [
      ['dy', 'in f32 ...M N'],
      ['w', 'in f32|bf16 N K'],
      ['dy2', 'in? f32 ...M N2'],
      ['w2', 'in? f32|bf16 N2 K'],
      ['dy3', 'in? f32 ...M N3'],
      ['w3', 'in? f32|bf16 N3 K'],
      ['dx', 'inout f32 ...M K'],
      ['unit', 'i64'],
      ['spans', 'i64'],
      ['accumulate', 'i64'],
    ],
  },
  linear_backward_weight: {
    doc: 'dw = dyT x, dbias = column sums of dy; contraction over tokens in spans of `length`; added when accumulate is 1. With x of bf16 dw reads dy as bf16',
    args: [
      ['dy', 'in f32 ...M N'],
      ['x', 'in f32|bf16 ...M K'],
      ['dw', 'inout f32 N K'],
      ['dbias', 'inout? f32 N'],
      ['length', 'i64'],
      ['spans', 'i64'],
      ['accumulate', 'i64'],
    ],
  },
  linear_pack: {
    doc: 'packs w into the panels that linear_packed_forward reads; P is what packedSize(N, K) says',
    args: [
      ['w', 'in f32|bf16 N K'],
      ['packed', 'out f32 P'],
    ],
  },
  linear_packed_forward: {
    doc: 'linear_forward in f32 with w packed before; the same bits. The way of decoding: one row streams the panels once',
    args: [
      ['x', 'in f32 ...M K'],
      ['packed', 'in f32 P'],
      ['bias', 'in? f32 N'],
      ['y', 'out f32 ...M N'],
      ['unit', 'i64'],
      ['spans', 'i64'],
    ],
  },
  // -- quantised weights; `type` is a type id of GGUF (core/quant-types.h), blocks are as files hold them
  dequantize: {
    doc: 'y = what the blocks are worth, each element rounded once',
    args: [
      ['blocks', 'in u8 ...B'],
      ['y', 'out f32 ...M'],
      ['type', 'i64'],
    ],
    needs: ['quantized_bytes(type, M) == B'],
  },
  dequantize_rows: {
    doc: 'y[t] = what row ids[t] of a table of blocks is worth',
    args: [
      ['blocks', 'in u8 V R'],
      ['ids', 'in i32 ...M'],
      ['y', 'out f32 ...M D'],
      ['type', 'i64'],
    ],
    needs: ['quantized_bytes(type, D) == R'],
  },
  quantize: {
    doc: 'blocks = x in fewer bits, byte for byte as the reference of ggml does it',
    args: [
      ['x', 'in f32 ...M'],
      ['blocks', 'out u8 ...B'],
      ['type', 'i64'],
    ],
    needs: ['quantized_bytes(type, M) == B'],
  },
  quantized_pack: {
    doc: 'packs the blocks of a weight [N, terms] into the panels that linear_quantized reads; P is what quantizedPanelBytes says',
    args: [
      ['blocks', 'in u8 N R'],
      ['packed', 'out u8 P'],
      ['type', 'i64'],
      ['terms', 'i64'],
    ],
    needs: ['quantized_bytes(type, terms) == R', 'quantized_panel_bytes(type, N, terms) == P'],
  },
  linear_quantized: {
    doc: 'y = x wT + bias for packed blocks; x in 8 bits by runs of 32, exact sums of whole numbers, scaled and added in spans of whole blocks',
    args: [
      ['x', 'in f32 ...M K'],
      ['packed', 'in u8 P'],
      ['bias', 'in? f32 N'],
      ['y', 'out f32 ...M N'],
      ['type', 'i64'],
      ['spans', 'i64'],
    ],
    needs: ['quantized_panel_bytes(type, N, K) == P'],
  },
  add_bias: {
    doc: 'y = x + bias, the bits of a bias inside linear_forward; y may be x',
    args: [
      ['x', 'in f32|bf16 ...M N'],
      ['bias', 'in f32 N'],
      ['y', 'out f32|bf16 ...M N'],
    ],
  },
  bias_backward: {
    doc: 'db = column sums of dy in token spans, the bits of dbias in linear_backward_weight; added to db when accumulate is 1',
    args: [
      ['dy', 'in f32 ...M N'],
      ['db', 'inout f32 N'],
      ['length', 'i64'],
      ['spans', 'i64'],
      ['accumulate', 'i64'],
    ],
  },

  // -- norms; h = x + residual where residual is given (then h must be given too), else h = x
  rms_norm_forward: {
    doc: 'h = x + residual; y = h / rms(h) * (w + offset); inv_rms is kept for the backward pass',
    args: [
      ['x', 'in f32|bf16 ...M D'],
      ['residual', 'in? f32|bf16 ...M D'],
      ['w', 'in f32 D'],
      ['h', 'out? f32|bf16 ...M D'],
      ['y', 'out f32|bf16 ...M D'],
      ['inv_rms', 'out f32 ...M'],
      ['eps', 'f32'],
      ['offset', 'f32'],
    ],
  },
  rms_norm_backward: {
    doc: 'dx = gradient through the norm at h, plus dh (what arrives at h by other ways); dw in token spans',
    args: [
      ['dy', 'in f32 ...M D'],
      ['h', 'in f32|bf16 ...M D'],
      ['w', 'in f32 D'],
      ['inv_rms', 'in f32 ...M'],
      ['dh', 'in? f32 ...M D'],
      ['dx', 'out f32 ...M D'],
      ['dw', 'inout f32 D'],
      ['length', 'i64'],
      ['spans', 'i64'],
      ['accumulate', 'i64'],
      ['offset', 'f32'],
    ],
  },
  layer_norm_forward: {
    doc: 'h = x + residual; y = (h - mean) * inv_std * w + b',
    args: [
      ['x', 'in f32|bf16 ...M D'],
      ['residual', 'in? f32|bf16 ...M D'],
      ['w', 'in f32 D'],
      ['b', 'in? f32 D'],
      ['h', 'out? f32|bf16 ...M D'],
      ['y', 'out f32|bf16 ...M D'],
      ['mean', 'out f32 ...M'],
      ['inv_std', 'out f32 ...M'],
      ['eps', 'f32'],
    ],
  },
  layer_norm_backward: {
    doc: 'dx = gradient through the norm at h, plus dh; dw and db in token spans',
    args: [
      ['dy', 'in f32 ...M D'],
      ['h', 'in f32|bf16 ...M D'],
      ['w', 'in f32 D'],
      ['mean', 'in f32 ...M'],
      ['inv_std', 'in f32 ...M'],
      ['dh', 'in? f32 ...M D'],
      ['dx', 'out f32 ...M D'],
      ['dw', 'inout f32 D'],
      ['db', 'inout? f32 D'],
      ['length', 'i64'],
      ['spans', 'i64'],
      ['accumulate', 'i64'],
    ],
  },

  // -- positions and attention; a row holds its heads one after the other
  // A query sees the `window` keys up to its own, or all of them where it is 0. Where slopes of all heads are given, slopes[first_head + h]
  // times (key's position - query's position) is added to the scores of head h (Press et al. 2022, section 3).
  rope: {
    doc: 'y = x with each head of size 2H turned by the angle of its position (halves rotated); inverse 1 turns back; y may be x',
    args: [
      ['x', 'in f32|bf16 ...M E'],
      ['positions', 'in i32 ...M'],
      ['cos', 'in f32 C H'],
      ['sin', 'in f32 C H'],
      ['y', 'out f32|bf16 ...M E'],
      ['inverse', 'i64'],
    ],
    needs: ['E % (2 * H) == 0'],
  },
  attention_forward: {
    doc: 'causal attention over sequences of `length` rows; lse is the log of each softmax sum, kept for the backward pass',
    args: [
      ['q', 'in f32|bf16 ...M Q'],
      ['k', 'in f32|bf16 ...M E'],
      ['v', 'in f32|bf16 ...M E'],
      ['out', 'out f32|bf16 ...M Q'],
      ['lse', 'out f32 ...M H'],
      ['slopes', 'in? f32 A'],
      ['length', 'i64'],
      ['kv_heads', 'i64'],
      ['scale', 'f32'],
      ['window', 'i64'],
      ['first_head', 'i64'],
    ],
    needs: [
      'kv_heads >= 1',
      'H % kv_heads == 0',
      'Q % H == 0',
      'E % kv_heads == 0',
      'Q / H == E / kv_heads',
      'window >= 0',
      'first_head >= 0',
      'A == 0 || first_head + H <= A',
    ],
  },
  attention_backward: {
    doc: 'gradients of attention_forward',
    args: [
      ['dout', 'in f32 ...M Q'],
      ['q', 'in f32|bf16 ...M Q'],
      ['k', 'in f32|bf16 ...M E'],
      ['v', 'in f32|bf16 ...M E'],
      ['out', 'in f32|bf16 ...M Q'],
      ['lse', 'in f32 ...M H'],
      ['slopes', 'in? f32 A'],
      ['dq', 'out f32 ...M Q'],
      ['dk', 'out f32 ...M E'],
      ['dv', 'out f32 ...M E'],
      ['length', 'i64'],
      ['kv_heads', 'i64'],
      ['scale', 'f32'],
      ['window', 'i64'],
      ['first_head', 'i64'],
    ],
    needs: [
      'kv_heads >= 1',
      'H % kv_heads == 0',
      'Q % H == 0',
      'E % kv_heads == 0',
      'Q / H == E / kv_heads',
      'window >= 0',
      'first_head >= 0',
      'A == 0 || first_head + H <= A',
    ],
  },
  kv_write: {
    doc: 'the key of slots[t] becomes k[t], its value v[t], in the type and the order of core/cache-types.h; slot = page * S + offset; a negative slot is skipped',
    args: [
      ['k', 'in f32 ...M E'],
      ['v', 'in f32 ...M E'],
      ['slots', 'in i32 ...M'],
      ['keys', 'inout u8 P S R'],
      ['values', 'inout u8 P S R'],
      ['type', 'i64'],
      ['kv_heads', 'i64'],
    ],
    needs: ['kv_heads >= 1', 'E % kv_heads == 0', 'cache_row_bytes(type, kv_heads, E / kv_heads) == R'],
  },
  attention_paged: {
    doc: 'attention over pages, same bits as attention_forward over what they hold. sequences[b] = {first row, row count, position of the first row}; pages[b] lists its pages',
    args: [
      ['q', 'in f32 ...M Q'],
      ['keys', 'in u8 P S R'],
      ['values', 'in u8 P S R'],
      ['pages', 'in i32 B W'],
      ['sequences', 'in i32 B C'],
      ['slopes', 'in? f32 A'],
      ['out', 'out f32 ...M Q'],
      ['type', 'i64'],
      ['heads', 'i64'],
      ['kv_heads', 'i64'],
      ['scale', 'f32'],
      ['window', 'i64'],
      ['first_head', 'i64'],
    ],
    needs: [
      'C == 3',
      'heads >= 1',
      'kv_heads >= 1',
      'heads % kv_heads == 0',
      'Q % heads == 0',
      'cache_row_bytes(type, kv_heads, Q / heads) == R',
      'window >= 0',
      'first_head >= 0',
      'A == 0 || first_head + heads <= A',
    ],
  },

  // -- activations
  gelu_forward: {
    doc: 'y = gelu(x); tanh 1 is the tanh form, 0 the erf form',
    args: [
      ['x', 'in f32|bf16 ...M'],
      ['y', 'out f32|bf16 ...M'],
      ['tanh', 'i64'],
    ],
  },
  gelu_backward: {
    doc: "dx = dy * gelu'(x)",
    args: [
      ['dy', 'in f32 ...M'],
      ['x', 'in f32|bf16 ...M'],
      ['dx', 'out f32 ...M'],
      ['tanh', 'i64'],
    ],
  },
  silu_forward: {
    doc: 'y = x * sigmoid(x)',
    args: [
      ['x', 'in f32 ...M'],
      ['y', 'out f32 ...M'],
    ],
  },
  silu_backward: {
    doc: "dx = dy * silu'(x)",
    args: [
      ['dy', 'in f32 ...M'],
      ['x', 'in f32 ...M'],
      ['dx', 'out f32 ...M'],
    ],
  },
  gated_silu_forward: {
    doc: 'y = silu(gate) * up',
    args: [
      ['gate', 'in f32|bf16 ...M'],
      ['up', 'in f32|bf16 ...M'],
      ['y', 'out f32|bf16 ...M'],
    ],
  },
  gated_silu_backward: {
    doc: 'gradients of gated_silu_forward',
    args: [
      ['dy', 'in f32 ...M'],
      ['gate', 'in f32|bf16 ...M'],
      ['up', 'in f32|bf16 ...M'],
      ['dgate', 'out f32 ...M'],
      ['dup', 'out f32 ...M'],
    ],
  },
  gated_gelu_forward: {
    doc: 'y = gelu(gate) * up, by the tanh form',
    args: [
      ['gate', 'in f32|bf16 ...M'],
      ['up', 'in f32|bf16 ...M'],
      ['y', 'out f32|bf16 ...M'],
    ],
  },
  gated_gelu_backward: {
    doc: 'gradients of gated_gelu_forward',
    args: [
      ['dy', 'in f32 ...M'],
      ['gate', 'in f32|bf16 ...M'],
      ['up', 'in f32|bf16 ...M'],
      ['dgate', 'out f32 ...M'],
      ['dup', 'out f32 ...M'],
    ],
  },
  relu_forward: {
    doc: 'y = max(x, 0)',
    args: [
      ['x', 'in f32|bf16 ...M'],
      ['y', 'out f32|bf16 ...M'],
    ],
  },
  relu_backward: {
    doc: 'dx = dy where y is above 0, else 0',
    args: [
      ['dy', 'in f32 ...M'],
      ['y', 'in f32|bf16 ...M'],
      ['dx', 'out f32 ...M'],
    ],
  },
  dropout: {
    doc: 'y = x / (1 - p) where kept, else 0; Philox keyed by (seed, step, site) and the token: row i is first_token + i / run * stride + i % run; its own backward',
    args: [
      ['x', 'in f32|bf16 ...M K'],
      ['y', 'out f32|bf16 ...M K'],
      ['p', 'f32'],
      ['seed', 'i64'],
      ['step', 'i64'],
      ['site', 'i64'],
      ['first_token', 'i64'],
      ['run', 'i64'],
      ['stride', 'i64'],
    ],
    needs: ['p >= 0', 'p < 1', 'first_token >= 0', 'run >= 1', 'stride >= 0'],
  },

  // -- mixture of experts: token t goes to its K likeliest of E experts. A slot is a token's way through one of them; slots are in order
  // of experts, then of tokens, and slot_of[t * K + k] is that of the token's k-th choice.
  route_forward: {
    doc: 'probabilities = softmax(logits); choices: the K largest, lower index first among equals; weights: theirs, divided by their sum. slots of expert e: ends[e - 1] .. ends[e]',
    args: [
      ['logits', 'in f32 ...M E'],
      ['probabilities', 'out f32 ...M E'],
      ['choices', 'out i32 ...M K'],
      ['weights', 'out f32 ...M K'],
      ['slot_of', 'out i32 ...M K'],
      ['tokens', 'out i32 S'],
      ['ends', 'out i32 E'],
    ],
    needs: ['K <= E', 'S == M * K'],
  },
  route_backward: {
    doc: 'gradient of the weights to the logits, plus balance * d(E sum_e f_e P_e) and z * d(mean logsumexp^2), f_e: slots per token, P_e: mean probability',
    args: [
      ['dweights', 'in f32 ...M K'],
      ['logits', 'in f32 ...M E'],
      ['probabilities', 'in f32 ...M E'],
      ['choices', 'in i32 ...M K'],
      ['weights', 'in f32 ...M K'],
      ['ends', 'in i32 E'],
      ['dlogits', 'out f32 ...M E'],
      ['balance', 'f32'],
      ['z', 'f32'],
    ],
  },
  dispatch_forward: {
    doc: 'y[s] = x[tokens[s]]',
    args: [
      ['x', 'in f32 M D'],
      ['tokens', 'in i32 S'],
      ['y', 'out f32 S D'],
    ],
  },
  dispatch_backward: {
    doc: 'dx[t] = sum over k of dy[slot_of[t][k]], in order of k',
    args: [
      ['dy', 'in f32 S D'],
      ['slot_of', 'in i32 ...M K'],
      ['dx', 'out f32 ...M D'],
    ],
    needs: ['S == M * K'],
  },
  combine_forward: {
    doc: 'y[t] = sum over k of weights[t][k] * x[slot_of[t][k]], one FMA chain in order of k',
    args: [
      ['x', 'in f32 S D'],
      ['weights', 'in f32 ...M K'],
      ['slot_of', 'in i32 ...M K'],
      ['y', 'out f32 ...M D'],
    ],
    needs: ['S == M * K'],
  },
  combine_backward: {
    doc: 'gradients of combine_forward',
    args: [
      ['dy', 'in f32 ...M D'],
      ['x', 'in f32 S D'],
      ['weights', 'in f32 ...M K'],
      ['slot_of', 'in i32 ...M K'],
      ['dx', 'out f32 S D'],
      ['dweights', 'out f32 ...M K'],
    ],
    needs: ['S == M * K'],
  },
  expert_forward: {
    doc: 'linear_forward of the slots of one expert; packed, if given, is what linear_pack made of w; the same bits',
    args: [
      ['x', 'in f32 S I'],
      ['ends', 'in i32 E'],
      ['w', 'in? f32 O I'],
      ['packed', 'in? f32 P'],
      ['y', 'inout f32 S O'],
      ['expert', 'i64'],
    ],
    needs: ['expert >= 0', 'expert < E'],
  },
  expert_backward_input: {
    doc: 'linear_backward_input of the slots of one expert, by one layer or two',
    args: [
      ['dy', 'in f32 S O'],
      ['w', 'in f32 O I'],
      ['dy2', 'in? f32 S O2'],
      ['w2', 'in? f32 O2 I'],
      ['ends', 'in i32 E'],
      ['dx', 'inout f32 S I'],
      ['expert', 'i64'],
    ],
    needs: ['expert >= 0', 'expert < E'],
  },
  expert_backward_weight: {
    doc: 'linear_backward_weight of the slots of one expert; added to dw when accumulate is 1',
    args: [
      ['dy', 'in f32 S O'],
      ['x', 'in f32 S I'],
      ['ends', 'in i32 E'],
      ['dw', 'inout f32 O I'],
      ['expert', 'i64'],
      ['accumulate', 'i64'],
    ],
    needs: ['expert >= 0', 'expert < E'],
  },

  // -- loss
  cross_entropy_forward: {
    doc: 'losses[t] = -log softmax(h[t] wT)[targets[t]], 0 where the target is negative; logits exist in chunks only',
    args: [
      ['h', 'in f32|bf16 ...M D'],
      ['w', 'in f32|bf16 V D'],
      ['targets', 'in i32 ...M'],
      ['losses', 'out f32 ...M'],
    ],
  },
  cross_entropy_fused: {
    doc: 'cross_entropy_forward with its gradients times `weight` (one over the tokens that count): dh, and dw in token spans',
    args: [
      ['h', 'in f32|bf16 ...M D'],
      ['w', 'in f32|bf16 V D'],
      ['targets', 'in i32 ...M'],
      ['losses', 'out f32 ...M'],
      ['dh', 'out f32 ...M D'],
      ['dw', 'inout f32 V D'],
      ['weight', 'f32'],
      ['length', 'i64'],
      ['accumulate', 'i64'],
    ],
  },
  cross_entropy_logits: {
    doc: 'first step of the loss with rows [first_row, first_row + V) of the vocabulary here: logits = h wT, maxima of their rows',
    args: [
      ['h', 'in f32|bf16 ...M D'],
      ['w', 'in f32|bf16 V D'],
      ['logits', 'out f32 ...M V'],
      ['maxima', 'out f32 ...M'],
    ],
  },
  cross_entropy_exponentials: {
    doc: 'second step: logits become exp(logit - maximum over ranks); sums = {sum of these, logit of the target or -0 where it is not here}',
    args: [
      ['logits', 'inout f32 ...M V'],
      ['maxima', 'in f32 ...M'],
      ['targets', 'in i32 ...M'],
      ['sums', 'out f32 ...M 2'],
      ['first_row', 'i64'],
      ['table_rows', 'i64'],
    ],
    needs: ['first_row >= 0', 'table_rows >= V', 'first_row <= table_rows - V'],
  },
  cross_entropy_finish: {
    doc: 'third step, with sums over ranks: losses, and the exponentials become the gradients of the logits times `weight`; 0 where the target is negative',
    args: [
      ['exponentials', 'inout f32 ...M V'],
      ['maxima', 'in f32 ...M'],
      ['sums', 'in f32 ...M 2'],
      ['targets', 'in i32 ...M'],
      ['losses', 'out f32 ...M'],
      ['first_row', 'i64'],
      ['weight', 'f32'],
    ],
    needs: ['first_row >= 0'],
  },
  cross_entropy_backward_input: {
    doc: 'dh = dlogits w over the rows of the vocabulary that are here, in its spans; to be added up over ranks',
    args: [
      ['dlogits', 'in f32 ...M V'],
      ['w', 'in f32|bf16 V D'],
      ['dh', 'out f32 ...M D'],
      ['first_row', 'i64'],
      ['table_rows', 'i64'],
    ],
    needs: ['first_row >= 0', 'table_rows >= V', 'first_row <= table_rows - V'],
  },
  sum: {
    doc: 'y[0] = sum of x in a fixed order',
    args: [
      ['x', 'in f32 ...M'],
      ['y', 'out f32 1'],
    ],
  },

  // -- optimizer
  squares_max: {
    doc: 'first step of the global norm: the largest magnitude in all tensors, NaN if there is one',
    args: [
      ['tensors', 'list f32'],
      ['largest', 'out f32 1'],
    ],
  },
  squares_sum: {
    doc: 'second step, with the largest magnitude on all ranks: sum of (x / 2^e)^2 in quanta of 2^-50, largest < 2^e, exact whatever the order; 16 bits a word',
    args: [
      ['tensors', 'list f32'],
      ['largest', 'in f32 1'],
      ['total', 'out i32 8'],
    ],
  },
  norm_finish: {
    doc: 'third step: the square root of the sum of all totals; 0, infinity and NaN of `largest` come through',
    args: [
      ['totals', 'in i32 R 8'],
      ['largest', 'in f32 1'],
      ['norm', 'out f32 1'],
    ],
  },
  adamw: {
    doc: 'one AdamW step over many tensors (decoupled weight decay); gradients times min(1, clip / (norm + 1e-6)) when norm is given',
    args: [
      ['params', 'list f32'],
      ['grads', 'list f32'],
      ['first', 'list f32'],
      ['second', 'list f32'],
      ['norm', 'in? f32 1'],
      ['clip', 'f32'],
      ['rate', 'f32'],
      ['beta1', 'f32'],
      ['beta2', 'f32'],
      ['eps', 'f32'],
      ['decay', 'f32'],
      ['step', 'i64'],
    ],
  },

  // -- from logits to tokens
  log_softmax_gather: {
    doc: 'out[t] = log softmax(logits[t])[ids[t]]; exactly the negated loss of cross_entropy_forward',
    args: [
      ['logits', 'in f32 ...M V'],
      ['ids', 'in i32 ...M'],
      ['out', 'out f32 ...M'],
    ],
  },
  top_k: {
    doc: 'the K largest entries of each row as log-probabilities, largest first, lower index first among equals',
    args: [
      ['logits', 'in f32 ...M V'],
      ['logprobs', 'out f32 ...M K'],
      ['indices', 'out i32 ...M K'],
    ],
    needs: ['K <= V'],
  },
  sample: {
    doc: 'one token per row: temperature, then top-k, top-p, min-p, then a draw keyed by (seed, position); temperature 0 is argmax. logprobs are of the raw logits',
    args: [
      ['logits', 'in f32 M V'],
      ['temperature', 'in f32 M'],
      ['top_k', 'in i32 M'],
      ['top_p', 'in f32 M'],
      ['min_p', 'in f32 M'],
      ['seeds', 'in i32 M W'],
      ['positions', 'in i32 M'],
      ['ids', 'out i32 M'],
      ['logprobs', 'out f32 M'],
    ],
  },
} as const satisfies Record<string, OpDeclaration>;

export type OpDeclaration = {
  readonly doc: string;
  readonly args: readonly (readonly [name: string, form: string])[];
  /** Conditions on dims and scalars beyond equal symbols: C expressions, checked in order before the operation is enqueued. */
  readonly needs?: readonly string[];
};
