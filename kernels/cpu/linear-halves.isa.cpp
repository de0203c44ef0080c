// Linear layers with weights of 16 bits: each is widened, which is exact, and multiplied in f32 in the order of all f32 contractions.
#include "cpu/linear-halves.h"

#include "core/quant-types.h"
#include "cpu/half-vector.h"
#include "cpu/spans.h"

namespace wl::WL_ISA {
namespace {

constexpr int64_t cols = quant_panel_cols;
/** Panels that are taken together, at most, and rows that share a widened weight. */
constexpr int most_panels = 4, most_rows = 4;
/** Panels that `rows` rows take together: chains that do not wait for each other, as many as there are registers for. */
constexpr int panels_of(int rows) {
#if defined(WL_ISA_AVX512)
  return rows < 4 ? most_panels : 2;
#else
  return most_panels / rows;
#endif
}
/** How far ahead of its use a panel is asked for. */
constexpr int64_t prefetch_bytes = 1024;

struct Job {
  const linear_quantized_args& a;
  Spans spans;
  int64_t stride;
};

/** Rows [row, row + rows) of panels [panel, panel + panels). */
template <bool brain, int panels, int rows>
void multiply(const Job& job, int64_t panel, int64_t row) {
  const linear_quantized_args& a = job.a;
  const uint8_t* weights = a.packed + panel * job.stride;
  const float* x = a.x + row * a.K;
  Vec16 sum[panels][rows], level[3][panels][rows];
  for (int s = 0; s < job.spans.count; ++s) {
    for (int p = 0; p < panels; ++p) {
      for (int r = 0; r < rows; ++r) sum[p][r] = zero();
    }
    for (int64_t k = job.spans.begin[s]; k < job.spans.begin[s + 1]; ++k) {
#pragma GCC unroll 4
      for (int p = 0; p < panels; ++p) {
        const uint8_t* at = weights + p * job.stride + k * 2 * cols;
        __builtin_prefetch(at + prefetch_bytes);
        const Vec16 w = brain ? load_bf16(at) : load_f16(at);
#pragma GCC unroll 4
        for (int r = 0; r < rows; ++r) sum[p][r] = fma(splat(x[r * a.K + k]), w, sum[p][r]);
      }
    }
    int height = 0;
    for (; (s >> height & 1) != 0; ++height) {
      for (int p = 0; p < panels; ++p) {
        for (int r = 0; r < rows; ++r) sum[p][r] = level[height][p][r] + sum[p][r];
      }
    }
    if (s + 1 == job.spans.count) break;
    for (int p = 0; p < panels; ++p) {
      for (int r = 0; r < rows; ++r) level[height][p][r] = sum[p][r];
    }
  }
  for (int p = 0; p < panels; ++p) {
    const int64_t first = (panel + p) * cols;
    const int64_t n = a.N - first < cols ? a.N - first : cols;
    for (int r = 0; r < rows; ++r) {
      Vec16 value = sum[p][r];
      if (a.bias != nullptr) value = value + load_first(n, a.bias + first);
      store_first(n, a.y + (row + r) * a.N + first, value);
    }
  }
}

template <bool brain, int rows>
void each_panel(const Job& job, int64_t begin, int64_t end, int64_t row) {
  constexpr int panels = panels_of(rows);
  int64_t panel = begin;
  for (; panel + panels <= end; panel += panels) multiply<brain, panels, rows>(job, panel, row);
  for (; panel < end; ++panel) multiply<brain, 1, rows>(job, panel, row);
}

template <bool brain>
void run(Context& context, const linear_quantized_args& a) {
  const Job job = {a, spans_of(a.K, 16, a.spans), quant_panel_stride(a.type, a.K)};
  const int64_t panels = (a.N + cols - 1) / cols;
  const int64_t groups = (panels + most_panels - 1) / most_panels;
  context.parallel_for(groups, 1, [&](int64_t begin, int64_t end, int) {
    const int64_t first = begin * most_panels;
    const int64_t last = end * most_panels < panels ? end * most_panels : panels;
    int64_t row = 0;
    for (; row + most_rows <= a.M; row += most_rows) each_panel<brain, most_rows>(job, first, last, row);
    for (; row + 2 <= a.M; row += 2) each_panel<brain, 2>(job, first, last, row);
    for (; row < a.M; ++row) each_panel<brain, 1>(job, first, last, row);
  });
}

}  // namespace

void linear_halves(Context& context, const linear_quantized_args& a) {
  if (static_cast<Quant>(a.type) == Quant::bf16) run<true>(context, a);
  else run<false>(context, a);
}

}  // namespace wl::WL_ISA
