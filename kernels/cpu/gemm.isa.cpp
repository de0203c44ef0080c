// Drives the matrix product: cuts it over workers by outputs only, packs the factors, and walks the register tiles.
#include "cpu/gemm.h"

#include <utility>

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

template <Layout layout, int... rows>
constexpr RowKernels row_kernels(std::integer_sequence<int, rows...>) {
  return {{{nullptr, nullptr, nullptr, 1},
           {Tile<rows + 1, 1, layout>::run, Tile<rows + 1, panels_of_tile(rows + 1), layout>::run, pack_left<rows + 1>,
            panels_of_tile(rows + 1)}...}};
}

using EachRows = std::make_integer_sequence<int, tile_rows>;
constexpr RowKernels kernels_for_rows = row_kernels<Layout::rows>(EachRows{});
constexpr RowKernels kernels_for_terms = row_kernels<Layout::terms>(EachRows{});

Cut cut_of(const Product& p) { return cut_into(p.spans, p.rows * p.cols <= short_step_floats ? short_step_terms : step_terms); }

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
  const RowKernel* kernels;
  int64_t begin, end;
  int64_t row_panels, col_panels;
  // Column panels that are walked together, so that few rows still make a full tile.
  int64_t group;
  // Column panels of one work item where rows are few.
  int64_t batch;
  // All right panels fit beside a left panel in L2: then go along the rows of C, else down its columns.
  bool along_rows;
  // Floats from one right panel to the next.
  int64_t panel;
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
  int64_t padded_terms() const { return ceil_div(terms(), 16) * 16; }
  int64_t row(int64_t row_panel) const { return row_panel * p.rows / row_panels; }
};

Job job_of(const Product& p, int64_t panel_terms, int threads) {
  Job job{};
  job.p = p;
  job.kernels = (p.left.layout == Layout::rows ? kernels_for_rows : kernels_for_terms).of;
  job.begin = p.spans.first();
  job.end = p.spans.begin[p.spans.count];
  job.row_panels = ceil_div(p.rows, tile_rows);
  job.col_panels = ceil_div(p.cols, panel_cols);
  job.group = job.kernels[ceil_div(p.rows, job.row_panels)].panels;
  job.panel = (p.panels != nullptr ? panel_terms : job.terms()) * panel_cols;
  job.along_rows = job.col_panels * panel_cols * job.terms() * 4 <= left_block_bytes;
  job.tall = job.row_panels >= int64_t{32} * threads;
  const bool packed = p.panels != nullptr;
  if (job.tall) {
    const int64_t fit = most(1, left_block_bytes / (4 * tile_rows * most(1, job.padded_terms())));
    job.block_rows = most(1, least(fit, job.row_panels / (8 * threads)));
    job.right_panels = packed ? job.col_panels : least(job.col_panels, most(1, right_block_floats / most(1, job.panel)));
    job.left_floats = threads * job.block_rows * tile_rows * job.padded_terms();
    job.right_floats = packed ? 0 : job.right_panels * job.panel;
  } else {
    const int64_t groups = ceil_div(job.col_panels, job.group);
    job.alone = p.rows * p.cols * job.terms() <= lone_work;
    job.row_parts = job.alone || groups >= 4 * threads ? 1 : least(job.row_panels, ceil_div(4 * threads, groups));
    const int64_t fit = most(1, left_block_bytes / (4 * job.group * most(1, job.panel)));
    job.batch = job.group * (packed ? 1 : most(1, least(fit, groups / (8 * threads))));
    job.left_floats = p.rows * job.padded_terms();
    job.right_floats = packed ? 0 : job.panel * (job.row_parts > 1 ? job.col_panels : threads * job.batch);
  }
  return job;
}

// The tiles of one row panel with column panels [col_begin, col_end); `right` is the panel of col_begin.
void walk_row(const Job& job, const float* left, int64_t row_panel, const float* right, int64_t col_begin, int64_t col_end) {
  const int64_t row = job.row(row_panel);
  const RowKernel& kernel = job.kernels[job.row(row_panel + 1) - row];
  for (int64_t c = col_begin; c < col_end;) {
    const bool many = col_end - c >= kernel.panels;
    (many ? kernel.many : kernel.one)(job.p, left, right + (c - col_begin) * job.panel, job.panel, row, c * panel_cols);
    c += many ? kernel.panels : 1;
  }
}

// Tiles of row panels [row_begin, row_end) with column panels [col_begin, col_end).
void walk(const Job& job, const float* left, int64_t row_begin, int64_t row_end, const float* right, int64_t col_begin,
          int64_t col_end) {
  const auto left_of = [&](int64_t i) { return left + (job.row(i) - job.row(row_begin)) * job.padded_terms(); };
  const int64_t stride = job.along_rows ? col_end - col_begin : job.group;
  for (int64_t j = col_begin; j < col_end; j += stride) {
    const float* panels = right + (j - col_begin) * job.panel;
    for (int64_t i = row_begin; i < row_end; ++i) walk_row(job, left_of(i), i, panels, j, least(j + stride, col_end));
  }
}

void pack_rows(const Job& job, int64_t row_begin, int64_t row_end, float* to) {
  const bool by_terms = job.p.left.layout == Layout::terms;
  const int64_t terms = by_terms ? pack_terms : most(1, job.terms());
  const int64_t first = job.row(row_begin);
  for (int64_t k = job.begin; k < job.end; k += terms) {
    for (int64_t i = row_begin; i < row_end; ++i) {
      const int64_t row = job.row(i);
      const int64_t rows = job.row(i + 1) - row;
      float* panel = to + (row - first) * job.padded_terms();
      each_part(job.p.left, k, least(k + terms, job.end), [&](const Factor& part, int64_t from, int64_t stop, int64_t at) {
        job.kernels[rows].pack(part, row, from, stop, panel, k - job.begin + at);
      });
    }
  }
}

// Terms [begin, end) of column panels [col_begin, col_end); `to` is where the first panel starts.
void pack_cols(const Job& job, int64_t col_begin, int64_t col_end, int64_t begin, int64_t end, float* to) {
  constexpr int64_t few = 16;
  const bool by_terms = job.p.right.layout == Layout::terms;
  const int64_t terms = by_terms ? few : most(1, end - begin);
  for (int64_t k = begin; k < end; k += terms) {
    for (int64_t c = col_begin; c < col_end; ++c) {
      float* panel = to + (c - col_begin) * job.panel;
      each_part(job.p.right, k, least(k + terms, end), [&](const Factor& part, int64_t from, int64_t stop, int64_t at) {
        pack_right_panel(part, c * panel_cols, job.p.cols, from, stop, panel + (k - job.begin + at) * panel_cols);
      });
    }
  }
}

// Column panels [col_begin, col_end) by all workers: each takes panels, or terms where these lie on rows of memory.
void pack_cols_shared(Context& context, const Job& job, int64_t col_begin, int64_t col_end, float* to) {
  if (job.p.right.layout == Layout::terms) {
    context.parallel_for(ceil_div(job.terms(), pack_terms), [&](int64_t begin, int64_t end, int) {
      pack_cols(job, col_begin, col_end, job.begin + begin * pack_terms, least(job.begin + end * pack_terms, job.end), to);
    });
  } else {
    context.parallel_for(col_end - col_begin, [&](int64_t begin, int64_t end, int) {
      pack_cols(job, col_begin + begin, col_begin + end, job.begin, job.end, to + begin * job.panel);
    });
  }
}

void multiply_tall(Context& context, const Job& job, float* workspace) {
  const int64_t block_floats = job.block_rows * tile_rows * job.padded_terms();
  float* packed = workspace + job.left_floats;
  for (int64_t c = 0; c < job.col_panels; c += job.right_panels) {
    const int64_t stop = least(c + job.right_panels, job.col_panels);
    const float* right = job.p.panels != nullptr ? job.p.panels + job.begin * panel_cols + c * job.panel : packed;
    if (job.p.panels == nullptr) pack_cols_shared(context, job, c, stop, packed);
    const Ranges blocks{job.row_panels, job.block_rows};
    context.parallel_for(blocks.count(), 1, [&](int64_t begin, int64_t end, int worker) {
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
    for (int64_t i = begin; i < end; ++i) pack_rows(job, i, i + 1, workspace + job.row(i) * job.padded_terms());
  };
  if (job.alone || job.row_panels == 1) pack(0, job.row_panels, 0);
  else context.parallel_for(job.row_panels, pack);
  if (pack_first) pack_cols_shared(context, job, 0, job.col_panels, packed);

  const float* shared = pack_first ? packed : job.p.panels + job.begin * panel_cols;
  // In whole groups.
  const Ranges batches{ceil_div(job.col_panels, job.group), job.batch / job.group};
  const int64_t items = batches.count() * job.row_parts;
  const auto compute = [&](int64_t begin, int64_t end, int worker) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t col = batches.begin(item / job.row_parts) * job.group;
      const int64_t col_end = least(batches.begin(item / job.row_parts + 1) * job.group, job.col_panels);
      const int64_t part = item % job.row_parts;
      const int64_t row = part * job.row_panels / job.row_parts;
      const int64_t row_end = (part + 1) * job.row_panels / job.row_parts;
      const float* right = shared + col * job.panel;
      if (pack_late) {
        float* own = packed + worker * job.batch * job.panel;
        pack_cols(job, col, col_end, job.begin, job.end, own);
        right = own;
      }
      walk(job, workspace + job.row(row) * job.padded_terms(), row, row_end, right, col, col_end);
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
    Product part = product;
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
    Product part = product;
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
