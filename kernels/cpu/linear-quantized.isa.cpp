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

/** Where the outputs of one panel, or of some side by side, go. */
struct Outputs {
  float* y;
  int64_t cols;
  const float* bias;
  int64_t first, count;

  void put(int64_t row, int part, Reals sum) const {
    const int64_t col = first + part * part_cols;
    float* to = y + row * cols + col;
    if (part * part_cols + part_cols <= count) {
      store_reals(to, bias != nullptr ? sum + load_reals(bias + col) : sum);
      return;
    }
    float values[part_cols];
    store_reals(values, sum);
    for (int64_t i = 0; i < count - part * part_cols; ++i) to[i] = bias != nullptr ? values[i] + bias[col + i] : values[i];
  }
};

/** sum += products of whole numbers, times both scales; plus the minimum times its factor, whose bits `factor` has. */
template <bool has_min>
inline void add_scaled(Words products, Reals weight_scale, Reals least, float scale, int32_t factor, Reals& sum) {
  sum = fma(weight_scale * splat_real(scale), to_real(products), sum);
  if constexpr (has_min) sum = fma(least, splat_real(float_of(static_cast<uint32_t>(factor))), sum);
}

/** Adds run b of 32 terms of the rows of a tile, for `parts` parts of the columns from `part` on. */
template <int rows, int parts, class Source>
inline void add_run(const Source& source, int64_t b, int part, const RowTile& x, Reals (&sum)[parts][rows]) {
  constexpr bool has_min = Source::has_min;
  static constexpr int32_t none[2 * rows] = {};
  const int32_t* codes = x.codes + b * rows * 8;
  const float* scales = x.scales + b * rows;
  const int32_t* corrections = x.corrections + b * rows * 2;
  const int32_t* starts = has_min ? none : corrections;
  const auto add = [&](int p, const Scales& w, int half, const Words* products) {
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) add_scaled<has_min>(products[r], w.a[half], w.least, scales[r], corrections[r * 2], sum[p][r]);
  };
#if defined(WL_ISA_AVX2)
  if constexpr (Source::is_wide) {
    const auto word = [&](int p, int g) { return source.word(b, part + p, g); };
    Words products[parts][rows];
    constexpr int count = Source::halves ? 4 : 8;
    dots<Source::bits, 0, count>(word, codes, starts, products);
#pragma GCC unroll 8
    for (int p = 0; p < parts; ++p) add(p, source.load_scales(b, part + p), 0, products[p]);
    if constexpr (Source::halves) {
      dots<Source::bits, 4, 4>(word, codes, starts + 1, products);
#pragma GCC unroll 8
      for (int p = 0; p < parts; ++p) add(p, source.load_scales(b, part + p), 1, products[p]);
    }
    return;
  }
  const auto dots_of = [&]<int first, int count>(const Words* u, const int32_t* from, Words* products) {
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) products[r] = dot<Source::bits, first, count>(u, codes + r * 8, from[r * 2]);
  };
#else
  const auto dots_of = [&]<int first, int count>(const Words* u, const int32_t* from, Words* products) {
    dots<first, count, rows>(u, codes, from, products);
  };
#endif
#pragma GCC unroll 8
  for (int p = 0; p < parts; ++p) {
    Words u[8], products[rows];
    Scales w;
    source.load(b, part + p, u, w);
    dots_of.template operator()<0, Source::halves ? 4 : 8>(u, starts, products);
    add(p, w, 0, products);
    if constexpr (Source::halves) {
      dots_of.template operator()<4, 4>(u, starts + 1, products);
      add(p, w, 1, products);
    }
  }
}

/** Rows of a tile times parts [part, part + parts) of a panel. `spans` count runs of 32 terms. */
template <int rows, int parts, class Source>
void multiply(const Source& source, const Spans& spans, const RowTile& x, int part, const Outputs& out) {
  // Sums of one span and, in memory, of 1, 2 and 4 spans that wait for as many more; the last is the sum of all.
  Reals sum[parts][rows] = {};
  Reals level[4][parts][rows];
  for (int s = 0; s < spans.count; ++s) {
#pragma GCC unroll 8
    for (int p = 0; p < parts; ++p) {
#pragma GCC unroll 16
      for (int r = 0; r < rows; ++r) sum[p][r] = splat_real(0.0f);
    }
    for (int64_t b = spans.begin[s]; b < spans.begin[s + 1]; ++b) {
      if constexpr (!Source::is_wide) source.prefetch(b);
      add_run<rows, parts>(source, b, part, x, sum);
    }
    int height = 0;
    for (; (s >> height & 1) != 0; ++height) {
#pragma GCC unroll 8
      for (int p = 0; p < parts; ++p) {
#pragma GCC unroll 16
        for (int r = 0; r < rows; ++r) sum[p][r] = level[height][p][r] + sum[p][r];
      }
    }
    if (s + 1 == spans.count) height = 3;
#pragma GCC unroll 8
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
  const auto outputs_of = [&](int64_t panel, int64_t count) {
    const int64_t first = panel * quant_panel_cols, cols = count * quant_panel_cols;
    return Outputs{a.y, a.N, a.bias, first, a.N - first < cols ? a.N - first : cols};
  };
  if (a.M <= direct_rows) {
    constexpr int side_by_side = 4;
    const int64_t items = (panels + side_by_side - 1) / side_by_side;
    context.parallel_for(items, [&](int64_t begin, int64_t end, int) {
      for (int64_t panel = begin * side_by_side; panel < end * side_by_side && panel < panels;) {
        const uint8_t* packed = a.packed + panel * stride;
        if (a.M == 1 && panel + side_by_side <= panels) {
          const Several<Source, side_by_side> sources(packed, stride, a.K);
          multiply<1, side_by_side * panel_parts>(sources, spans, rows.tile(0), 0, outputs_of(panel, side_by_side));
          panel += side_by_side;
          continue;
        }
        const Source source(packed, a.K);
        for (int64_t row = 0; row < a.M;) {
          const RowTile x = rows.tile(row);
          multiply_tile<direct_rows, panel_parts>(source, spans, x, 0, outputs_of(panel, 1));
          row += x.count;
        }
        panel += 1;
      }
    });
    return;
  }
  // Panels are unpacked in groups that stay in a cache while tiles of rows, which stay in a smaller one, go past them. Where there are few
  // groups rows are shared out too, in whole tiles; each share unpacks for itself.
  constexpr int64_t group_bytes = 256 << 10;
  const int64_t wide_bytes = (Wide::bytes(a.K) + 63) / 64 * 64;
  int64_t group = group_bytes / wide_bytes;
  if (group > panels / (4 * context.threads())) group = panels / (4 * context.threads());
  if (group < 1) group = 1;
  const int64_t groups = (panels + group - 1) / group;
  int64_t shares = 1;
  while (groups * shares < 4 * context.threads() && a.M / (shares * 2) >= 4 * most_rows) shares *= 2;
  const int64_t share_rows = (a.M / shares + most_rows - 1) / most_rows * most_rows;
  auto* memory = context.scratch_of<uint8_t>(wide_bytes * group * context.threads());
  context.parallel_for(groups * shares, 1, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t first = item / shares * group;
      const int64_t last = first + group < panels ? first + group : panels;
      const int64_t from = item % shares * share_rows;
      const int64_t to = item % shares + 1 == shares || from + share_rows > a.M ? a.M : from + share_rows;
      const auto wide_of = [&](int64_t panel) { return Wide(memory + (worker * group + panel - first) * wide_bytes, a.K); };
      for (int64_t panel = first; panel < last; ++panel) wide_of(panel).fill(Source(a.packed + panel * stride, a.K), a.K);
      for (int64_t row = from; row < to;) {
        const RowTile x = rows.tile(row);
        for (int64_t panel = first; panel < last; ++panel) multiply_tile<most_rows, panel_parts>(wide_of(panel), spans, x, 0, outputs_of(panel, 1));
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
