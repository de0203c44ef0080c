// Prints what attention over pages costs with each type of the cache: decoding by the bytes of cache that it reads, a chunk of a prompt by
// its operations, and both by the ratio to f32. The types take turns, and each counts by its fastest turn.
// WL_ISA and WL_THREADS choose what is measured. With one thread the clock is the thread's CPU time.
#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "core/cache-types.h"
#include "core/ops.gen.h"
#include "stand.h"
#include "wl.h"

namespace {

using namespace wl;

struct Shape {
  int64_t sequences, depth, heads, kv_heads, size;
  int64_t window = 0;
  int64_t rows = 1;  // the last ones of each sequence, which are computed

  int64_t keys_seen() const { return window == 0 ? depth : window; }
};

constexpr struct {
  CacheType type;
  const char* name;
} types[] = {{CacheType::f32, "f32"}, {CacheType::f16, "f16"}, {CacheType::bf16, "bf16"}, {CacheType::q8_0, "q8_0"}};
constexpr int type_count = 4;
constexpr int64_t page = 16;

// A cache of scattered pages in huge memory pages, as the core's allocator asks for, written by kv_write.
struct Cache {
  CacheType type;
  int64_t row, pages, width;
  uint8_t *keys, *values;
  std::vector<int32_t> table;

  Cache(bench::Stand& stand, CacheType in, const Shape& s) : type(in) {
    row = cache_row_bytes(int64_t(type), s.kv_heads, s.size);
    width = (s.depth + page - 1) / page;
    pages = s.sequences * width;
    keys = memory();
    values = memory();
    for (int64_t i = 0; i < pages; i++) table.push_back(int32_t(i * 7919 % pages));  // 7919 is prime and no factor
    const int64_t elements = s.kv_heads * s.size;
    const std::vector<float> rows = bench::numbers(page * elements);
    std::vector<int32_t> slots(page);
    for (int64_t p = 0; p < pages; p++) {
      for (int64_t i = 0; i < page; i++) slots[i] = int32_t(p * page + i);
      op::kv_write(stand.context, {rows.data(), rows.data(), slots.data(), keys, values, int64_t(type), s.kv_heads, page, elements, pages, page, row});
      stand.scratch.reset();
    }
  }
  Cache(const Cache&) = delete;
  ~Cache() {
    std::free(keys);
    std::free(values);
  }

  uint8_t* memory() const {
    constexpr size_t huge = 2 << 20;
    const size_t bytes = (size_t(pages * page * row) + huge - 1) / huge * huge;
    auto* at = static_cast<uint8_t*>(std::aligned_alloc(huge, bytes));
    madvise(at, bytes, MADV_HUGEPAGE);
    return at;
  }
};

void measure(bench::Stand& stand, const Shape& s) {
  const int64_t q_row = s.heads * s.size, all_rows = s.sequences * s.rows;
  const std::vector<float> q = bench::numbers(all_rows * q_row);
  std::vector<float> out(q.size());
  std::vector<int32_t> sequences;
  for (int64_t b = 0; b < s.sequences; b++) sequences.insert(sequences.end(), {int32_t(b * s.rows), int32_t(s.rows), int32_t(s.depth - s.rows)});
  const Cache caches[type_count] = {{stand, types[0].type, s}, {stand, types[1].type, s}, {stand, types[2].type, s}, {stand, types[3].type, s}};
  double best[type_count] = {1e9, 1e9, 1e9, 1e9};
  for (int turn = 0; turn < 3; turn++) {
    for (int t = 0; t < type_count; t++) {
      const Cache& cache = caches[t];
      const double seconds = stand.best([&] {
        op::attention_paged(stand.context, {q.data(), cache.keys, cache.values, cache.table.data(), sequences.data(), nullptr, out.data(),
                                            int64_t(cache.type), s.heads, s.kv_heads, 0.1f, s.window, 0, all_rows, q_row, cache.pages, page,
                                            cache.row, s.sequences, cache.width, 3, 0});
      });
      best[t] = std::min(best[t], seconds);
    }
  }
  for (int t = 0; t < type_count; t++) {
    const double seconds = best[t];
    std::printf("%2ld x %5ld heads %2ld/%-2ld size %3ld window %4ld rows %3ld  %-4s %5ld bytes per token %9.3f ms", long(s.sequences), long(s.depth),
                long(s.heads), long(s.kv_heads), long(s.size), long(s.window), long(s.rows), types[t].name, long(2 * caches[t].row), seconds * 1e3);
    if (s.rows == 1) {
      std::printf("  %5.1f GB/s", double(s.sequences * s.keys_seen() * 2 * caches[t].row) / seconds * 1e-9);
    } else {
      const double pairs = double(s.rows) * double(s.depth) - double(s.rows) * double(s.rows - 1) / 2;
      std::printf("  %5.1f GFLOP/s", 4 * double(s.sequences * s.heads * s.size) * pairs / seconds * 1e-9);
    }
    std::printf("  %.2f of f32's speed\n", best[0] / seconds);
  }
}

}  // namespace

int main() {
  if (wl_start() != WL_OK) {
    std::printf("%s\n", wl_last_error()->message);
    return 1;
  }
  bench::Stand stand;
  std::printf("%s, %d threads\n", wl_isa(), wl_threads());
  for (const Shape& s : {Shape{1, 4096, 9, 3, 64}, Shape{1, 4096, 12, 12, 64}, Shape{1, 4096, 32, 8, 128}, Shape{16, 1024, 16, 4, 64},
                         Shape{1, 8000, 12, 12, 64, 512}, Shape{1, 512, 9, 3, 64, 0, 512}, Shape{1, 4096, 12, 12, 64, 0, 512}}) {
    measure(stand, s);
  }
}
