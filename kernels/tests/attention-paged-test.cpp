// Attention over pages: bit for bit what attention over whole sequences gives of the keys and values as the pages hold them, in every
// type, however rows are chunked, paged and batched.
#include <string>

#include "attention-cases.h"
#include "core/cache-types.h"
#include "reference/cache.h"

using namespace cases;
using wl::CacheType;
using wl::reference::AttentionShape;

namespace {

// One sequence whose keys and values go through pages.
struct Story {
  AttentionShape shape;  // one sequence
  Floats q, k, v;
};

Story story_of(int64_t length, int64_t heads, int64_t kv_heads, int64_t head_size, uint32_t seed, int64_t window = 0,
               std::vector<double> slopes = {}) {
  const AttentionShape shape = {1, length, heads, kv_heads, head_size, window, std::move(slopes)};
  return {shape, random(shape.query_size(), seed), random(shape.key_size(), seed + 100), random(shape.key_size(), seed + 200)};
}

constexpr float scale = 0.21f;

Floats slopes_of(const AttentionShape& shape) { return {shape.slopes.begin(), shape.slopes.end()}; }

constexpr CacheType types[] = {CacheType::f32, CacheType::f16, CacheType::bf16, CacheType::q8_0};

// Attention over the whole sequence, whose keys and values are rounded as the type does it.
Floats whole(const Kernels& kernels, const Story& story, CacheType type) {
  const AttentionShape& s = story.shape;
  Floats out(s.query_size()), lse(s.lse_size());
  const Floats slopes = slopes_of(s), k = wl::reference::cached(type, story.k, s.head_size), v = wl::reference::cached(type, story.v, s.head_size);
  kernels.forward(context_of(1), {story.q.data(), k.data(), v.data(), out.data(), lse.data(),
                                  slopes.empty() ? nullptr : slopes.data(), s.length, s.kv_heads, scale, s.window, 0, s.length,
                                  s.heads * s.head_size, s.kv_heads * s.head_size, s.heads, int64_t(slopes.size())});
  return out;
}

// Pages for several sequences, handed out in a scattered order; all that is never written is NaN in every type.
struct Pages {
  CacheType type;
  int64_t size, width, count, kv_heads, row;
  std::vector<uint8_t> keys, values;
  std::vector<int32_t> table;

  Pages(CacheType in, int64_t page_size, int64_t sequences, int64_t length, const AttentionShape& shape)
      : type(in), size(page_size), kv_heads(shape.kv_heads), row(wl::cache_row_bytes(int64_t(in), shape.kv_heads, shape.head_size)) {
    width = (length + size - 1) / size + 1;  // one more than needed: its entry is ignored
    count = sequences * width + 1;  // fewer than the stride below, a prime, so that all page numbers are distinct
    keys.assign(count * size * row, 0xff);
    values = keys;
    for (int64_t b = 0; b < sequences; b++) {
      for (int64_t w = 0; w < width; w++) {
        const bool needed = w + 1 < width;
        table.push_back(needed ? int32_t((b * width + w) * 7919 % count) : -12345);
      }
    }
  }
  int32_t slot(int64_t sequence, int64_t position) const {
    return int32_t(table[sequence * width + position / size] * size + position % size);
  }
};

// One call of the engine: rows [begin, end) of each story, all in one batch. Writes their keys, then attends.
struct Piece {
  int64_t sequence, begin, end;
};

void call(const Kernels& kernels, wl::Context& context, const std::vector<Story>& stories, Pages& pages,
          const std::vector<Piece>& pieces, std::vector<Floats>& outs) {
  const AttentionShape& s = stories[0].shape;
  const int64_t q_row = s.heads * s.head_size, kv_row = s.kv_heads * s.head_size;
  Floats q, k, v;
  std::vector<int32_t> slots, table, sequences;
  for (const Piece& piece : pieces) {
    const Story& story = stories[piece.sequence];
    sequences.insert(sequences.end(), {int32_t(slots.size()), int32_t(piece.end - piece.begin), int32_t(piece.begin)});
    table.insert(table.end(), pages.table.begin() + piece.sequence * pages.width, pages.table.begin() + (piece.sequence + 1) * pages.width);
    for (int64_t t = piece.begin; t < piece.end; t++) {
      slots.push_back(pages.slot(piece.sequence, t));
      q.insert(q.end(), story.q.begin() + t * q_row, story.q.begin() + (t + 1) * q_row);
      k.insert(k.end(), story.k.begin() + t * kv_row, story.k.begin() + (t + 1) * kv_row);
      v.insert(v.end(), story.v.begin() + t * kv_row, story.v.begin() + (t + 1) * kv_row);
    }
  }
  const int64_t rows = int64_t(slots.size()), batch = int64_t(pieces.size());
  Floats out(rows * q_row, std::nanf(""));
  kernels.write(context, {k.data(), v.data(), slots.data(), pages.keys.data(), pages.values.data(), int64_t(pages.type), s.kv_heads, rows,
                          kv_row, pages.count, pages.size, pages.row});
  const Floats slopes = slopes_of(s);
  kernels.paged(context, {q.data(), pages.keys.data(), pages.values.data(), table.data(), sequences.data(),
                          slopes.empty() ? nullptr : slopes.data(), out.data(), int64_t(pages.type), s.heads, s.kv_heads, scale, s.window,
                          0, rows, q_row, pages.count, pages.size, pages.row, batch, pages.width, 3, int64_t(slopes.size())});
  const float* from = out.data();
  for (const Piece& piece : pieces) {
    outs[piece.sequence].insert(outs[piece.sequence].end(), from, from + (piece.end - piece.begin) * q_row);
    from += (piece.end - piece.begin) * q_row;
  }
}

// The sequence in chunks, alone.
Floats chunked(const Kernels& kernels, wl::Context& context, const Story& story, CacheType type, int64_t page_size, int64_t chunk) {
  const int64_t length = story.shape.length;
  Pages pages(type, page_size, 1, length, story.shape);
  std::vector<Floats> outs(1);
  for (int64_t t = 0; t < length; t += chunk) {
    call(kernels, context, {story}, pages, {{0, t, std::min(t + chunk, length)}}, outs);
  }
  return outs[0];
}

}  // namespace

TEST("paged attention gives the bits of whole attention over the rounded keys for every type, chunk and page size") {
  for (const Story& story : {story_of(1, 2, 2, 8, 1), story_of(65, 4, 2, 24, 2), story_of(129, 4, 1, 32, 3), story_of(200, 3, 3, 80, 4),
                             story_of(200, 4, 2, 24, 6, 7), story_of(230, 2, 2, 16, 7, 70), story_of(150, 2, 1, 16, 8, 0, {0.5, 0.0625}),
                             story_of(180, 2, 2, 24, 9, 65, {0.5, 0.0625}), story_of(140, 3, 3, 64, 11), story_of(100, 9, 1, 33, 12),
                             story_of(140, 12, 2, 64, 13, 66, std::vector<double>(12, 0.03125))}) {
    for (const CacheType type : types) {
      const Floats wanted = whole(best_isa(), story, type);
      for (const int64_t page_size : {1, 16, 32, 50}) {
        for (const int64_t chunk : {1, 3, 16, 512}) {
          CHECK(same_bits(chunked(best_isa(), context_of(1), story, type, page_size, chunk), wanted));
        }
      }
    }
  }
}

TEST("paged attention gives the same bits for every type, instruction set and thread count") {
  for (const Story& story : {story_of(130, 2, 2, 64, 14), story_of(100, 4, 2, 40, 5, 66, {0.5, 0.25, 0.125, 0.0625})}) {
    for (const CacheType type : types) {
      const Floats wanted = whole(every_isa().front(), story, type);
      for (const Kernels& kernels : every_isa()) {
        for (int threads = 1; threads <= 3; threads++) {
          for (const int64_t chunk : {1, 40, 512}) {
            CHECK(same_bits(chunked(kernels, context_of(threads), story, type, 16, chunk), wanted));
          }
        }
      }
    }
  }
}

TEST("a sequence has the same bits alone and in a batch of 16 with others of other lengths, in every type") {
  std::vector<Story> stories;
  for (int b = 0; b < 16; b++) stories.push_back(story_of(1 + (b * 53) % 190, 4, 2, 32, 10 + b));
  for (const CacheType type : types) {
    Pages pages(type, 16, 16, 190, stories[0].shape);
    std::vector<Floats> outs(16);
    // Each step takes one row of some sequences and a chunk of others, until all are through.
    std::vector<int64_t> done(16, 0);
    for (int step = 0;; step++) {
      std::vector<Piece> pieces;
      for (int64_t b = 15; b >= 0; b--) {
        const int64_t length = stories[b].shape.length, chunk = (b + step) % 3 == 0 ? 1 : (b + step) % 3 == 1 ? 29 : 64;
        if (done[b] == length || (b + step) % 5 == 0) continue;
        const int64_t end = std::min(length, done[b] + chunk);
        pieces.push_back({b, done[b], end});
        done[b] = end;
      }
      if (!pieces.empty()) call(best_isa(), context_of(1 + step % 3), stories, pages, pieces, outs);
      bool all = true;
      for (int64_t b = 0; b < 16; b++) all = all && done[b] == stories[b].shape.length;
      if (all) break;
    }
    for (int64_t b = 0; b < 16; b++) CHECK(same_bits(outs[b], whole(best_isa(), stories[b], type)));
  }
}

TEST("each type is as far from exact attention as its roundings explain, and further than floats are") {
  for (const Story& story : {story_of(160, 4, 2, 64, 20), story_of(160, 4, 2, 40, 21, 50, {0.5, 0.25, 0.125, 0.0625})}) {
    const auto exact = wl::reference::attention_forward(story.shape, wide(story.q), wide(story.k), wide(story.v), scale).out;
    for (const CacheType type : types) {
      const Floats seen = chunked(best_isa(), context_of(1), story, type, 16, 40);
      within(seen, wl::reference::cached_attention(type, story.shape, wide(story.q), wide(story.k), wide(story.v), scale), "out");
      double furthest = 0, by_floats = 0;
      for (size_t i = 0; i < seen.size(); i++) {
        furthest = std::max(furthest, std::abs(double(seen[i]) - exact.value[i]));
        by_floats = std::max(by_floats, exact.bound[i]);
      }
      CHECK((furthest > by_floats) == (type != CacheType::f32));
    }
  }
}

TEST("sequences that would lead outside the batch or the pages are refused") {
  const Floats q(2 * 4, 1.0f);
  const std::vector<uint8_t> pages(3 * 4 * 16);
  const auto refused = [&](std::vector<int32_t> sequence, std::vector<int32_t> table) {
    Floats out(q.size());
    try {
      best_isa().paged(context_of(1), {q.data(), pages.data(), pages.data(), table.data(), sequence.data(), nullptr, out.data(), 0, 1, 1,
                                       1.0f, 0, 0, 2, 4, 3, 4, 16, 1, int64_t(table.size()), 3, 0});
      return false;
    } catch (const wl::BadInput&) {
      return true;
    }
  };
  CHECK(!refused({0, 2, 5}, {2, 0}));
  CHECK(!refused({0, 2, 2}, {2, 99}));
  CHECK(!refused({0, 0, 0}, {99, 99}));
  CHECK(refused({0, 2, 5}, {2, 3}));
  CHECK(refused({0, 2, 5}, {2, -1}));
  CHECK(refused({0, 2, 7}, {2, 0}));
  CHECK(refused({1, 2, 0}, {2, 0}));
  CHECK(refused({-1, 2, 0}, {2, 0}));
  CHECK(refused({0, 2, -1}, {2, 0}));
  CHECK(refused({0, -1, 3}, {2, 0}));
}

TEST_MAIN
