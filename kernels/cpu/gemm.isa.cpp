// Drives the matrix product: cuts it over workers by outputs only, packs the factors, and walks the register tiles.
#include "cpu/gemm.h"

#include <optional>
#include <utility>

#include "core/isa.h"
#include "cpu/flush.h"
#include "cpu/gemm-blocks.h"
#include "cpu/gemm-pack.h"
#include "cpu/gemm-steps.h"
#include "cpu/gemm-tile.h"
#include "cpu/token-spans.h"

namespace wl::WL_ISA::gemm {
namespace {

// Longest contraction of one step: a few left panels and a right one then fit the L2 cache. Shorter ones, of which a panel nearly fits the L1
// cache, pay where what passes between steps stays in a cache too.
constexpr int64_t step_terms = 3072, short_step_terms = 768;
constexpr int64_t short_step_floats = 1 << 20;
// Terms that are packed at a time from factors whose terms lie on rows of memory, so that neighbouring panels share what was fetched.
constexpr int64_t pack_terms = 128;
// Packed columns that a step of many rows walks at a time: a part of the L3 cache.
constexpr int64_t right_block_floats = 4 << 20;
// Multiply-adds that one thread does in about the time that it takes to wake another.
constexpr int64_t lone_work = 1 << 18;

using TileRun = void (*)(const Product&, const float* left, const float* right, int64_t panel, int64_t row, int64_t col);
using PackLeft = void (*)(const Factor&, int64_t row, int64_t begin, int64_t end, float* panel, int64_t at);

// What there is for a given number of rows.
struct RowKernel {
  TileRun one;
  TileRun many;
  PackLeft pack;
  int panels;
};

struct RowKernels {
  RowKernel of[tile_rows + 1];
};

template <Layout layout, Chains chains, int... rows>
constexpr RowKernels row_kernels(std::integer_sequence<int, rows...>) {
  return {{{nullptr, nullptr, nullptr, 1},
           {Tile<rows + 1, 1, layout, chains>::run, Tile<rows + 1, panels_of_tile(rows + 1), layout, chains>::run, pack_left<rows + 1>,
            panels_of_tile(rows + 1)}...}};
}

template <Layout layout, Chains chains>
constexpr RowKernels kernels_for = row_kernels<layout, chains>(std::make_integer_sequence<int, tile_rows>{});

/** What computes a product: register tiles of f32, the same for bf16 with its two chains, or blocks on tile registers. */
enum class Way { singles, pairs, blocks };

const RowKernel* kernels_of(Way way, Layout left) {
  if (way == Way::blocks) return nullptr;
  if (way == Way::pairs) return (left == Layout::rows ? kernels_for<Layout::rows, Chains::pairs> : kernels_for<Layout::terms, Chains::pairs>).of;
  return (left == Layout::rows ? kernels_for<Layout::rows, Chains::single> : kernels_for<Layout::terms, Chains::single>).of;
}

/** Both factors are read as bf16 where one of them is. */
Product with_like_factors(const Product& product) {
  Product p = product;
  if (p.panels == nullptr && (p.left.data.as != Stored::f32 || p.right.data.as != Stored::f32)) {
    p.left.data = in_bf16(p.left.data);
    p.right.data = in_bf16(p.right.data);
  }
  return p;
}

Way way_of(const Product& p) {
  if (p.panels != nullptr || p.right.data.as == Stored::f32) return Way::singles;
#if defined(WL_ISA_AVX512)
  if (isa() == Isa::amx) return Way::blocks;
#endif
  return Way::pairs;
}

/** What a thread holds while it computes tiles or blocks. */
class Hold {
 public:
  explicit Hold(Way way) {
    if (way != Way::singles) flush_.emplace();
#if defined(WL_ISA_AVX512)
    if (way == Way::blocks) tiles_.shape<16, 64>();
#endif
  }

 private:
  std::optional<FlushDenormals> flush_;
#if defined(WL_ISA_AVX512)
  tile::Scope tiles_;
#endif
};

Cut cut_of(const Product& p) {
  return cut_into(p.spans, p.rows * p.cols <= short_step_floats ? short_step_terms : step_terms);
}

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
constexpr int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// [0, total) in ranges of `size`, and of a quarter of it for the last quarter, so that workers are done at about the same time.
struct Ranges {
  int64_t total, size;

  int64_t fine() const { return most(1, size / 4); }
  int64_t coarse() const { return total * 3 / 4 / size; }
  int64_t count() const { return coarse() + ceil_div(total - coarse() * size, fine()); }
  int64_t begin(int64_t i) const {
    return i <= coarse() ? i * size : least(total, coarse() * size + (i - coarse()) * fine());
  }
};

// One step of a product and how it is cut up. Rows go in panels of nearly equal height.
struct Job {
  Product p;
  Way way;
  // None for blocks.
  const RowKernel* kernels;
  int64_t begin, end;
  int64_t row_panels, col_panels;
  // Column panels that are walked together, so that few rows still make a full tile.
  int64_t group;
  // Column panels of one work item where rows are few.
  int64_t batch;
  // All right panels fit beside a left panel in L2: then go along the rows of C, else down its columns.
  bool along_rows;
  // Floats from one right panel to the next, and from one left panel.
  int64_t panel;
  int64_t left_panel;
  // Many rows: workers own blocks of rows and pack them privately; the right panels are packed before, `right_panels` at a time.
  // Few rows: the left factor is packed once, workers own (part of the rows, group of columns).
  bool tall;
  int64_t block_rows;
  int64_t right_panels;
  int64_t row_parts;
  // Too little work to share.
  bool alone;
  // Workspace, in floats.
  int64_t left_floats, right_floats;

  int64_t terms() const { return end - begin; }
  int64_t row(int64_t row_panel) const { return row_panel * p.rows / row_panels; }
};

Job job_of(const Product& p, int64_t panel_terms, int threads) {
  Job job{};
  job.p = p;
  job.way = way_of(p);
  job.kernels = kernels_of(job.way, p.left.layout);
  job.begin = p.spans.first();
  job.end = p.spans.begin[p.spans.count];
  const bool packed = p.panels != nullptr;
  if (job.way == Way::blocks) {
    job.row_panels = ceil_div(p.rows, block_size);
    job.col_panels = ceil_div(p.cols, block_size);
    job.group = 1;
    job.panel = job.left_panel = chunks_of(p.spans) * block_chunk;
  } else {
    job.row_panels = ceil_div(p.rows, tile_rows);
    job.col_panels = ceil_div(p.cols, panel_cols);
    job.group = job.kernels[ceil_div(p.rows, job.row_panels)].panels;
    job.panel = (packed ? panel_terms : job.terms()) * panel_cols;
    job.left_panel = ceil_div(job.terms(), 16) * 16 * tile_rows;
  }
  const auto fitting = [&](int64_t floats) { return most(1, left_block_bytes / (4 * most(1, floats))); };
  job.along_rows = job.col_panels * job.panel * 4 <= left_block_bytes;
  job.tall = p.rows >= int64_t{32} * tile_rows * threads;
  if (job.tall) {
    job.block_rows = most(1, least(fitting(job.left_panel), job.row_panels / (8 * threads)));
    job.right_panels = packed ? job.col_panels : least(job.col_panels, most(1, right_block_floats / most(1, job.panel)));
    job.left_floats = threads * job.block_rows * job.left_panel;
    job.right_floats = packed ? 0 : job.right_panels * job.panel;
  } else {
    const int64_t groups = ceil_div(job.col_panels, job.group);
    job.alone = p.rows * p.cols * job.terms() <= lone_work;
    job.row_parts = job.alone || groups >= 4 * threads ? 1 : least(job.row_panels, ceil_div(4 * threads, groups));
    job.batch = job.group * (packed ? 1 : most(1, least(fitting(job.group * job.panel), groups / (8 * threads))));
    job.left_floats = job.row_panels * job.left_panel;
    job.right_floats = packed ? 0 : job.panel * (job.row_parts > 1 ? job.col_panels : threads * job.batch);
  }
  return job;
}

// The tiles of one row panel with column panels [col_begin, col_end); `right` is the panel of col_begin.
void walk_row(const Job& job, const float* left, int64_t row_panel, const float* right, int64_t col_begin, int64_t col_end) {
  const int64_t row = job.row(row_panel), rows = job.row(row_panel + 1) - row;
#if defined(WL_ISA_AVX512)
  if (job.way == Way::blocks) {
    Block block;
    for (int64_t c = col_begin; c < col_end; ++c, right += job.panel) block.run(job.p, left, right, row, rows, c * block_size);
    return;
  }
#endif
  const RowKernel& kernel = job.kernels[rows];
  for (int64_t c = col_begin; c < col_end;) {
    const bool many = col_end - c >= kernel.panels;
    (many ? kernel.many : kernel.one)(job.p, left, right + (c - col_begin) * job.panel, job.panel, row, c * panel_cols);
    c += many ? kernel.panels : 1;
  }
}

// Tiles of row panels [row_begin, row_end) with column panels [col_begin, col_end).
void walk(const Job& job, const float* left, int64_t row_begin, int64_t row_end, const float* right, int64_t col_begin,
          int64_t col_end) {
  const int64_t stride = job.along_rows ? col_end - col_begin : job.group;
  for (int64_t j = col_begin; j < col_end; j += stride) {
    const float* panels = right + (j - col_begin) * job.panel;
    for (int64_t i = row_begin; i < row_end; ++i) {
      walk_row(job, left + (i - row_begin) * job.left_panel, i, panels, j, least(j + stride, col_end));
    }
  }
}

// What is packed together: all terms of a panel, or, where terms lie on rows of memory, a few of all panels, which share what was fetched.
int64_t packed_terms(const Job& job, const Factor& f, int64_t few) { return f.layout == Layout::terms ? few : most(1, job.terms()); }

#if defined(WL_ISA_AVX512)
// Chunks [begin, end) of panels [first, last) of a factor with `lines` as the lines of its tiles; `row(panel)` is where a panel begins.
template <Layout lines, class Row>
void pack_blocks(const Job& job, const Factor& f, int64_t first, int64_t last, int64_t begin, int64_t end, float* to, Row row) {
  const int64_t run = f.layout == Layout::terms ? pack_terms / chunk_terms : most(1, end - begin);
  for (int64_t c = begin; c < end; c += run) {
    for (int64_t i = first; i < last; ++i) {
      pack_block<lines>(f, job.p.spans, row(i), row(i + 1) - row(i), c, least(c + run, end), to + (i - first) * job.panel + c * block_chunk);
    }
  }
}
#endif

void pack_rows(const Job& job, int64_t row_begin, int64_t row_end, float* to) {
#if defined(WL_ISA_AVX512)
  if (job.way == Way::blocks) {
    return pack_blocks<Layout::rows>(job, job.p.left, row_begin, row_end, 0, chunks_of(job.p.spans), to, [&](int64_t i) { return job.row(i); });
  }
#endif
  const int64_t terms = packed_terms(job, job.p.left, pack_terms);
  for (int64_t k = job.begin; k < job.end; k += terms) {
    for (int64_t i = row_begin; i < row_end; ++i) {
      const int64_t row = job.row(i);
      const int64_t rows = job.row(i + 1) - row;
      float* panel = to + (i - row_begin) * job.left_panel;
      each_part(job.p.left, k, least(k + terms, job.end), [&](const Factor& part, int64_t from, int64_t stop, int64_t at) {
        job.kernels[rows].pack(part, row, from, stop, panel, k - job.begin + at);
      });
    }
  }
}

// Column panels [col_begin, col_end); `to` is where the first panel starts. Of their terms those of run `first` to before run `last`: runs have
// right_run terms each, or chunks.
constexpr int64_t right_run = pack_terms;
int64_t right_runs(const Job& job) { return job.way == Way::blocks ? chunks_of(job.p.spans) : ceil_div(job.terms(), right_run); }

void pack_cols(const Job& job, int64_t col_begin, int64_t col_end, int64_t first, int64_t last, float* to) {
#if defined(WL_ISA_AVX512)
  if (job.way == Way::blocks) {
    return pack_blocks<Layout::terms>(job, job.p.right, col_begin, col_end, first, last, to,
                                      [&](int64_t c) { return least(c * block_size, job.p.cols); });
  }
#endif
  constexpr int64_t few = 16;
  const int64_t end = least(job.begin + last * right_run, job.end);
  const int64_t terms = packed_terms(job, job.p.right, few);
  for (int64_t k = job.begin + first * right_run; k < end; k += terms) {
    for (int64_t c = col_begin; c < col_end; ++c) {
      float* panel = to + (c - col_begin) * job.panel;
      each_part(job.p.right, k, least(k + terms, end), [&](const Factor& part, int64_t from, int64_t stop, int64_t at) {
        pack_right_panel(part, c * panel_cols, job.p.cols, from, stop, panel + (k - job.begin + at) * panel_cols);
      });
    }
  }
}

void pack_cols(const Job& job, int64_t col_begin, int64_t col_end, float* to) { pack_cols(job, col_begin, col_end, 0, right_runs(job), to); }

// Column panels [col_begin, col_end) by all workers: each takes panels, or terms where these lie on rows of memory.
void pack_cols_shared(Context& context, const Job& job, int64_t col_begin, int64_t col_end, float* to) {
  if (job.p.right.layout == Layout::terms) {
    context.parallel_for(right_runs(job), [&](int64_t begin, int64_t end, int) { pack_cols(job, col_begin, col_end, begin, end, to); });
  } else {
    context.parallel_for(col_end - col_begin, [&](int64_t begin, int64_t end, int) {
      pack_cols(job, col_begin + begin, col_begin + end, to + begin * job.panel);
    });
  }
}

void multiply_tall(Context& context, const Job& job, float* workspace) {
  const int64_t block_floats = job.block_rows * job.left_panel;
  float* packed = workspace + job.left_floats;
  for (int64_t c = 0; c < job.col_panels; c += job.right_panels) {
    const int64_t stop = least(c + job.right_panels, job.col_panels);
    const float* right = job.p.panels != nullptr ? job.p.panels + job.begin * panel_cols + c * job.panel : packed;
    if (job.p.panels == nullptr) pack_cols_shared(context, job, c, stop, packed);
    const Ranges blocks{job.row_panels, job.block_rows};
    context.parallel_for(blocks.count(), 1, [&](int64_t begin, int64_t end, int worker) {
      const Hold hold(job.way);
      float* left = workspace + worker * block_floats;
      for (int64_t block = begin; block < end; ++block) {
        const int64_t first = blocks.begin(block), last = blocks.begin(block + 1);
        pack_rows(job, first, last, left);
        walk(job, left, first, last, right, c, stop);
      }
    });
  }
}

void multiply_wide(Context& context, const Job& job, float* workspace) {
  float* packed = workspace + job.left_floats;
  const bool pack_first = job.p.panels == nullptr && job.row_parts > 1;
  const bool pack_late = job.p.panels == nullptr && job.row_parts == 1;
  const auto pack = [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) pack_rows(job, i, i + 1, workspace + i * job.left_panel);
  };
  if (job.alone || job.row_panels == 1) pack(0, job.row_panels, 0);
  else context.parallel_for(job.row_panels, pack);
  if (pack_first) pack_cols_shared(context, job, 0, job.col_panels, packed);

  const float* shared = pack_first ? packed : job.p.panels + job.begin * panel_cols;
  // In whole groups.
  const Ranges batches{ceil_div(job.col_panels, job.group), job.batch / job.group};
  const int64_t items = batches.count() * job.row_parts;
  const auto compute = [&](int64_t begin, int64_t end, int worker) {
    const Hold hold(job.way);
    for (int64_t item = begin; item < end; ++item) {
      const int64_t col = batches.begin(item / job.row_parts) * job.group;
      const int64_t col_end = least(batches.begin(item / job.row_parts + 1) * job.group, job.col_panels);
      const int64_t part = item % job.row_parts;
      const int64_t row = part * job.row_panels / job.row_parts;
      const int64_t row_end = (part + 1) * job.row_panels / job.row_parts;
      const float* right = shared + col * job.panel;
      if (pack_late) {
        float* own = packed + worker * job.batch * job.panel;
        pack_cols(job, col, col_end, own);
        right = own;
      }
      walk(job, workspace + row * job.left_panel, row, row_end, right, col, col_end);
    }
  };
  if (job.alone) compute(0, items, 0);
  else context.parallel_for(items, 1, compute);
}

int64_t job_floats(const Job& job) { return ceil_div(job.left_floats, 16) * 16 + job.right_floats; }

}  // namespace

Spans token_spans(int64_t rows, int64_t length, int64_t limit, int32_t* order) {
  const TokenSpans tokens{rows, length, limit};
  Spans spans;
  spans.count = tokens.count();
  int64_t at = 0;
  for (int s = 0; s < spans.count; ++s) {
    tokens.each_row(s, [&](int64_t row) { order[at++] = static_cast<int32_t>(row); });
    spans.begin[s + 1] = at;
  }
  return spans;
}

int64_t packed_floats(int64_t cols, int64_t terms) { return ceil_div(cols, 32) * 32 * terms; }

void pack_right(Context& context, const Factor& right, int64_t cols, int64_t terms, float* packed) {
  context.parallel_for(ceil_div(cols, panel_cols), [&](int64_t begin, int64_t end, int) {
    for (int64_t c = begin; c < end; ++c) {
      pack_right_panel(right, c * panel_cols, cols, 0, terms, packed + c * panel_cols * terms);
    }
  });
}

int64_t workspace_floats(const Product& product, int threads) {
  const Cut cut = cut_of(product);
  const int64_t size = product.rows * product.cols;
  int64_t floats = 0;
  Step step;
  float* level[3] = {};
  Steps steps(product.spans, cut, level, nullptr, nullptr);
  while (steps.next(step)) {
    Product part = with_like_factors(product);
    part.spans = step.spans;
    floats = most(floats, job_floats(job_of(part, product.spans.terms(), threads)));
  }
  return floats + (cut.levels + (cut.chain ? 1 : 0)) * ceil_div(size, 16) * 16;
}

void multiply(Context& context, const Product& product, float* workspace) {
  const Cut cut = cut_of(product);
  const int64_t size = ceil_div(product.rows * product.cols, 16) * 16;
  float* level[3];
  for (int l = 0; l < cut.levels; ++l, workspace += size) level[l] = workspace;
  float* chain = workspace;
  if (cut.chain) workspace += size;
  Steps steps(product.spans, cut, level, chain, product.out.floats());
  Step step;
  bool first = true;
  while (steps.next(step)) {
    Product part = with_like_factors(product);
    part.spans = step.spans;
    part.out = step.last ? product.out : RealsOut{step.out};
    part.start = first ? product.start : step.start;
    part.addends = 0;
    for (int i = 0; i < step.addends; ++i) part.addend[part.addends++] = step.addend[i];
    if (step.last) {
      for (int i = 0; i < product.addends; ++i) part.addend[part.addends++] = product.addend[i];
    } else {
      part.bias = nullptr;
    }
    const Job job = job_of(part, product.spans.terms(), context.threads());
    if (job.tall) multiply_tall(context, job, workspace);
    else multiply_wide(context, job, workspace);
    first = false;
  }
}

void multiply(Context& context, const Product& product) {
  multiply(context, product, context.scratch(workspace_floats(product, context.threads())));
}

}  // namespace wl::WL_ISA::gemm
