// Linear layers with quantised weights. For each output, terms are taken in runs of 32 (16 for Q6_K): the sum of products of whole
// numbers is exact; it is multiplied by the product of both scales and added by one FMA, and a second FMA subtracts the minimum. Runs of a
// span are one chain in index order; spans, made of whole blocks, are added in the tree of all contractions. So nothing depends on rows,
// threads or instruction set.
#include "core/isa.h"
#include "core/ops.gen.h"
#include "cpu/linear-halves.h"
#include "cpu/quant-blocks.h"
#include "cpu/quant-panel.h"
#include "cpu/quant-rows.h"
#include "cpu/spans.h"

namespace wl::WL_ISA {
namespace {

/** Where the outputs of one panel go. */
struct Outputs {
  float* y;
  int64_t cols;
  const float* bias;
  int64_t first, count;

  void put(int64_t row, int part, Reals sum) const {
    const int64_t col = part * part_cols;
    float values[part_cols];
    store_reals(values, sum);
    float* to = y + row * cols + first + col;
    const int64_t n = count - col < part_cols ? count - col : part_cols;
    for (int64_t i = 0; i < n; ++i) to[i] = bias != nullptr ? values[i] + bias[first + col + i] : values[i];
  }
};

/** Rows of a tile times parts [part, part + parts) of a panel. `spans` count runs of 32 terms. */
template <int rows, int parts, class Source>
void multiply(const Source& source, const Spans& spans, const RowTile& x, int part, const Outputs& out) {
  // Sums of one span and, in memory, of 1, 2 and 4 spans that wait for as many more; the last is the sum of all.
  Reals sum[parts][rows] = {};
  Reals level[4][parts][rows];
  for (int s = 0; s < spans.count; ++s) {
#pragma GCC unroll 2
    for (int p = 0; p < parts; ++p) {
#pragma GCC unroll 16
      for (int r = 0; r < rows; ++r) sum[p][r] = splat_real(0.0f);
    }
    for (int64_t b = spans.begin[s]; b < spans.begin[s + 1]; ++b) {
      const int32_t* codes = x.codes + b * rows * 8;
      const float* scales = x.scales + b * rows;
      const int32_t* corrections = x.corrections + b * rows * 2;
#pragma GCC unroll 2
      for (int p = 0; p < parts; ++p) {
        Words u[8];
        Scales w;
        source.load(b, part + p, u, w);
#pragma GCC unroll 16
        for (int r = 0; r < rows; ++r) {
          const Reals scale = splat_real(scales[r]);
          if constexpr (Source::halves) {
            const Words first = dot<Source::bits, 0, 4>(u, codes + r * 8, corrections[r * 2]);
            const Words second = dot<Source::bits, 4, 4>(u, codes + r * 8, corrections[r * 2 + 1]);
            sum[p][r] = fma(w.a[0] * scale, to_real(first), sum[p][r]);
            sum[p][r] = fma(w.a[1] * scale, to_real(second), sum[p][r]);
          } else {
            const Words products = dot<Source::bits, 0, 8>(u, codes + r * 8, Source::has_min ? 0 : corrections[r * 2]);
            sum[p][r] = fma(w.a[0] * scale, to_real(products), sum[p][r]);
            if constexpr (Source::has_min) {
              sum[p][r] = fma(w.least, splat_real(float_of(static_cast<uint32_t>(corrections[r * 2]))), sum[p][r]);
            }
          }
        }
      }
    }
    int height = 0;
    for (; (s >> height & 1) != 0; ++height) {
#pragma GCC unroll 2
      for (int p = 0; p < parts; ++p) {
#pragma GCC unroll 16
        for (int r = 0; r < rows; ++r) sum[p][r] = level[height][p][r] + sum[p][r];
      }
    }
    if (s + 1 == spans.count) height = 3;
#pragma GCC unroll 2
    for (int p = 0; p < parts; ++p) {
#pragma GCC unroll 16
      for (int r = 0; r < rows; ++r) level[height][p][r] = sum[p][r];
    }
  }
  for (int p = 0; p < parts; ++p) {
    for (int r = 0; r < rows; ++r) out.put(x.first + r, part + p, level[3][p][r]);
  }
}

template <int most, int parts, class Source>
void multiply_tile(const Source& source, const Spans& spans, const RowTile& x, int part, const Outputs& out) {
  if (x.count == most) multiply<most, parts>(source, spans, x, part, out);
  else if constexpr (most > 1) multiply_tile<most / 2, parts>(source, spans, x, part, out);
}

/** The bits that `dot` looks at: only AVX2 does. */
constexpr int dot_bits(int bits) { return panel_parts > 1 ? bits : 8; }

template <Quant type>
void run(Context& context, const linear_quantized_args& a) {
  using Source = Packed<type>;
  using Wide = Unpacked<dot_bits(Source::bits), Source::has_min, Source::halves>;
  constexpr int64_t unit = Source::elements / 32;
  const int64_t runs = a.K / 32;
  const QuantRows rows(a.M, a.K, context.scratch_of<int8_t>(a.M * a.K), context.scratch(a.M * runs), context.scratch_of<int32_t>(a.M * runs * 2));
  constexpr bool is_k = type == Quant::q4_k || type == Quant::q5_k;
  constexpr Correction correction = {Source::offset, Source::halves, Source::has_min ? (is_k ? -1 : 1) : 0};
  const auto write = [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) rows.write(row, a.x + row * a.K, correction);
  };
  if (a.M < 4) write(0, a.M, 0);
  else context.parallel_for(a.M, write);

  const Spans spans = spans_of(runs, unit, a.spans);
  const int64_t stride = quant_panel_stride(a.type, a.K);
  const int64_t panels = (a.N + quant_panel_cols - 1) / quant_panel_cols;
  const auto outputs_of = [&](int64_t panel) {
    const int64_t first = panel * quant_panel_cols;
    return Outputs{a.y, a.N, a.bias, first, a.N - first < quant_panel_cols ? a.N - first : quant_panel_cols};
  };
  if (a.M <= direct_rows) {
    context.parallel_for(panels, [&](int64_t begin, int64_t end, int) {
      for (int64_t panel = begin; panel < end; ++panel) {
        const Source source(a.packed + panel * stride, a.K);
        const Outputs out = outputs_of(panel);
        for (int64_t row = 0; row < a.M;) {
          const RowTile x = rows.tile(row);
          multiply_tile<direct_rows, panel_parts>(source, spans, x, 0, out);
          row += x.count;
        }
      }
    });
    return;
  }
  // Where there are few panels their rows are shared out too, in whole tiles; each share unpacks for itself.
  int64_t shares = 1;
  while (panels * shares < 4 * context.threads() && a.M / (shares * 2) >= 4 * most_rows) shares *= 2;
  const int64_t share_rows = (a.M / shares + most_rows - 1) / most_rows * most_rows;
  const int64_t wide_bytes = (Wide::bytes(a.K) + 63) / 64 * 64;
  auto* memory = context.scratch_of<uint8_t>(wide_bytes * context.threads());
  context.parallel_for(panels * shares, [&](int64_t begin, int64_t end, int worker) {
    const Wide wide(memory + worker * wide_bytes, a.K);
    for (int64_t item = begin; item < end; ++item) {
      const int64_t panel = item / shares;
      const int64_t from = item % shares * share_rows;
      const int64_t to = item % shares + 1 == shares || from + share_rows > a.M ? a.M : from + share_rows;
      wide.fill(Source(a.packed + panel * stride, a.K), a.K);
      const Outputs out = outputs_of(panel);
      for (int64_t row = from; row < to;) {
        const RowTile x = rows.tile(row);
        for (int part = 0; part < panel_parts; ++part) multiply_tile<most_rows, 1>(wide, spans, x, part, out);
        row += x.count;
      }
    }
  });
}

}  // namespace

void linear_quantized(Context& context, const linear_quantized_args& a) {
#if defined(WL_ISA_AVX512)
  if (!has_vnni()) return avx2::linear_quantized(context, a);
#endif
  switch (static_cast<Quant>(a.type)) {
    case Quant::q4_0: return run<Quant::q4_0>(context, a);
    case Quant::q4_1: return run<Quant::q4_1>(context, a);
    case Quant::q5_0: return run<Quant::q5_0>(context, a);
    case Quant::q5_1: return run<Quant::q5_1>(context, a);
    case Quant::q8_0: return run<Quant::q8_0>(context, a);
    case Quant::q4_k: return run<Quant::q4_k>(context, a);
    case Quant::q5_k: return run<Quant::q5_k>(context, a);
    case Quant::q6_k: return run<Quant::q6_k>(context, a);
    case Quant::f16:
    case Quant::bf16: return linear_halves(context, a);
  }
}

}  // namespace wl::WL_ISA
