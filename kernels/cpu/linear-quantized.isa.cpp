// Linear layers with quantised weights. For each output, terms are taken in runs of 32 (16 for Q6_K): the sum of products of whole
// numbers is exact; it is multiplied by the product of both scales and added by one FMA, and a second FMA subtracts the minimum. Runs of a
// span are one chain in index order; spans, made of whole blocks, are added in the tree of all contractions. So nothing depends on rows,
// threads or instruction set.
#include <algorithm>

#include "core/isa.h"
#include "core/ops.gen.h"
#include "cpu/linear-halves.h"
#include "cpu/quant-blocks.h"
#include "cpu/quant-panel.h"
#include "cpu/quant-rows.h"
#include "cpu/quant-tiles.h"
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

/** Adds run first + i of the rows of a tile. */
template <int rows, class Source>
inline void add_run(const Source& source, const Common (&common)[panel_parts], int64_t first, int64_t i, const RowTile& x,
                    Reals (&sum)[panel_parts][rows]) {
  constexpr bool has_min = Source::has_min, halves = Source::halves;
  static constexpr int32_t none[2 * rows] = {};
  const int64_t b = first + i;
  const int32_t* codes = x.codes + b * rows * 8;
  const float* scales = x.scales + b * rows;
  const int32_t* corrections = x.corrections + b * rows * 2;
  const int32_t* starts = has_min ? none : corrections;
  const auto add = [&](int p, const Scales& w, int half, Words products, int r) {
    add_scaled<has_min>(products, w.a[half], w.least, scales[r], corrections[r * 2], sum[p][r]);
  };
#if defined(WL_ISA_AVX2)
  if constexpr (Source::is_wide) {
    const auto word = [&](int p, int g) { return source.word(b, p, g); };
    Words products[panel_parts][rows];
    constexpr int count = halves ? 4 : 8;
    dots<Source::bits, 0, count>(word, codes, starts, products);
#pragma GCC unroll 2
    for (int p = 0; p < panel_parts; ++p) {
      const Scales w = source.load_scales(common[p], first, i, p);
#pragma GCC unroll 4
      for (int r = 0; r < rows; ++r) add(p, w, 0, products[p][r], r);
    }
    if constexpr (halves) {
      dots<Source::bits, 4, 4>(word, codes, starts + 1, products);
#pragma GCC unroll 2
      for (int p = 0; p < panel_parts; ++p) {
        const Scales w = source.load_scales(common[p], first, i, p);
#pragma GCC unroll 4
        for (int r = 0; r < rows; ++r) add(p, w, 1, products[p][r], r);
      }
    }
  } else {
    // Codes that are unpacked on the way want registers of their own: many rows take one part of the columns after the other.
    constexpr int parts = rows > 2 ? 1 : panel_parts;
#pragma GCC unroll 2
    for (int part = 0; part < panel_parts; part += parts) {
      Totals<halves, parts, rows> total;
      const auto word = [&](int p, auto g) { return word_of<Source::bits, g>(source.run(first, i, part + p)); };
      dots_of_run<Source::bits, halves, parts, rows>(word, codes, starts, total);
#pragma GCC unroll 2
      for (int p = 0; p < parts; ++p) {
        const Scales w = source.load_scales(common[part + p], first, i, part + p);
#pragma GCC unroll 4
        for (int r = 0; r < rows; ++r) {
          add(part + p, w, 0, {total.of[0][p][r]}, r);
          if constexpr (halves) add(part + p, w, 1, {total.of[1][p][r]}, r);
        }
      }
    }
  }
#else
  Words u[8], products[rows];
  source.load(first, i, 0, u);
  const Scales w = source.load_scales(common[0], first, i, 0);
  dots<0, halves ? 4 : 8, rows>(u, codes, starts, products);
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) add(0, w, 0, products[r], r);
  if constexpr (halves) {
    dots<4, 4, rows>(u, codes, starts + 1, products);
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) add(0, w, 1, products[r], r);
  }
#endif
}

#if defined(WL_ISA_AVX512)
template <int rows, class Wide>
inline void add_run(const Tiled<Wide>& source, const Common (&common)[panel_parts], int64_t first, int64_t i, const RowTile& x,
                    Reals (&sum)[panel_parts][rows]) {
  const int64_t b = first + i;
  source.template advance<rows>(x, b);
  const float* scales = x.scales + b * rows;
  const int32_t* corrections = x.corrections + b * rows * 2;
  const Scales w = source.load_scales(common[0], first, i, 0);
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) add_scaled<Wide::has_min>(source.products(b, r), w.a[0], w.least, scales[r], corrections[r * 2], sum[0][r]);
}
#endif

/** Rows of a tile times a panel. `spans` count runs. */
template <int rows, class Source>
void multiply(const Source& source, const Spans& spans, const RowTile& x, const Outputs& out) {
  constexpr int parts = panel_parts;
  // Sums of one span and, in memory, of 1, 2 and 4 spans that wait for as many more; the last is the sum of all.
  Reals sum[parts][rows] = {};
  Reals level[4][parts][rows];
  for (int s = 0; s < spans.count; ++s) {
#pragma GCC unroll 2
    for (int p = 0; p < parts; ++p) {
#pragma GCC unroll 16
      for (int r = 0; r < rows; ++r) sum[p][r] = splat_real(0.0f);
    }
    for (int64_t first = spans.begin[s]; first < spans.begin[s + 1]; first += Source::together) {
      Common common[parts];
#pragma GCC unroll 2
      for (int p = 0; p < parts; ++p) common[p] = source.common(first, p);
#pragma GCC unroll 1
      for (int64_t i = 0; i < Source::together; ++i) {
        source.prefetch(first + i);
        add_run<rows>(source, common, first, i, x, sum);
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
    for (int r = 0; r < rows; ++r) out.put(x.first + r, p, level[3][p][r]);
  }
}

/** A tile of up to `most` rows times a panel. */
template <int most, class Source>
void multiply_tile(const Source& source, const Spans& spans, const RowTile& x, const Outputs& out) {
  if (x.count != most) {
    if constexpr (most > 1) multiply_tile<most / 2>(source, spans, x, out);
    return;
  }
  multiply<most>(source, spans, x, out);
}

/** The bits that `dot` looks at: only AVX2 does. */
constexpr int dot_bits(int bits) { return panel_parts > 1 ? bits : 8; }

/** Panels of one range: whole rounds of all threads, since few ranges are read; each long enough for memory to keep up. */
int64_t panels_at_once(int64_t panels, int64_t stride, int64_t threads) {
  constexpr int64_t range_bytes = 64 << 10, most_rounds = 16;
  const int64_t rounds = std::clamp(panels * stride / (range_bytes * threads), int64_t{1}, most_rounds);
  return (panels + rounds * threads - 1) / (rounds * threads);
}

/** A product: its rows as bytes, and its panels. */
struct Job {
  const linear_quantized_args& a;
  const QuantRows& rows;
  Spans spans;
  int64_t stride, panels;

  Outputs outputs_of(int64_t panel) const {
    const int64_t first = panel * quant_panel_cols;
    return {a.y, a.N, a.bias, first, std::min(a.N - first, quant_panel_cols)};
  }
};

/** Few rows: panels are read as they are packed. */
template <class Source>
void multiply_packed(Context& context, const Job& job) {
  context.parallel_for(job.panels, panels_at_once(job.panels, job.stride, context.threads()), [&](int64_t begin, int64_t end, int) {
    for (int64_t panel = begin; panel < end; ++panel) {
      const Source source{{}, job.a.packed + panel * job.stride};
      for (int64_t row = 0; row < job.a.M;) {
        const RowTile x = job.rows.tile(row);
        multiply_tile<std::min(direct_rows, most_rows)>(source, job.spans, x, job.outputs_of(panel));
        row += x.count;
      }
    }
  });
}

/**
 * Many rows: panels are unpacked in groups that stay in a cache while tiles of rows, which stay in a smaller one, go past them. Where there are
 * few groups rows are shared out too, in whole tiles; each share unpacks for itself.
 */
template <class Source, bool tiled>
void multiply_unpacked(Context& context, const Job& job) {
  using Wide = Unpacked<dot_bits(Source::bits), Source::has_min, Source::halves, tiled ? Source::offset : 0>;
  constexpr int64_t group_bytes = 256 << 10;
  const int64_t wide_bytes = (Wide::bytes(job.a.K) + 63) / 64 * 64;
  int64_t group = group_bytes / wide_bytes;
  if (group > job.panels / (4 * context.threads())) group = job.panels / (4 * context.threads());
  if (group < 1) group = 1;
  const int64_t groups = (job.panels + group - 1) / group;
  int64_t shares = 1;
  while (groups * shares < 4 * context.threads() && job.a.M / (shares * 2) >= 4 * most_rows) shares *= 2;
  const int64_t share_rows = (job.a.M / shares + most_rows - 1) / most_rows * most_rows;
  auto* memory = context.scratch_of<uint8_t>(wide_bytes * group * context.threads());
  context.parallel_for(groups * shares, 1, [&](int64_t begin, int64_t end, int worker) {
    Multiplier<Wide, tiled> multiplier(job.a.K);
    for (int64_t item = begin; item < end; ++item) {
      const int64_t first = item / shares * group;
      const int64_t last = first + group < job.panels ? first + group : job.panels;
      const int64_t from = item % shares * share_rows;
      const int64_t to = item % shares + 1 == shares || from + share_rows > job.a.M ? job.a.M : from + share_rows;
      const auto wide_of = [&](int64_t panel) { return Wide(memory + (worker * group + panel - first) * wide_bytes, job.a.K); };
      for (int64_t panel = first; panel < last; ++panel) wide_of(panel).fill(Source{{}, job.a.packed + panel * job.stride}, job.a.K);
      for (int64_t row = from; row < to;) {
        const RowTile x = job.rows.tile(row);
        for (int64_t panel = first; panel < last; ++panel) {
          multiply_tile<most_rows>(multiplier(wide_of(panel)), job.spans, x, job.outputs_of(panel));
        }
        row += x.count;
      }
    }
  });
}

template <Quant type>
void run(Context& context, const linear_quantized_args& a) {
  using Source = Packed<type>;
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

  const int64_t panels = (a.N + quant_panel_cols - 1) / quant_panel_cols;
  const Job job = {a, rows, spans_of(runs, unit, a.spans), quant_panel_stride(a.type, a.K), panels};
  if (a.M <= direct_rows) return multiply_packed<Source>(context, job);
#if defined(WL_ISA_AVX512)
  // Where 16 terms have a scale, tiles would be half empty.
  if constexpr (!Source::halves) {
    if (isa() == Isa::amx) return multiply_unpacked<Source, true>(context, job);
  }
#endif
  multiply_unpacked<Source, false>(context, job);
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
