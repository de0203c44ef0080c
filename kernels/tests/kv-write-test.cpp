// kv_write: what stands in the pages, in each type, byte by byte.
#include <limits>

#include "attention-cases.h"
#include "core/cache-types.h"
#include "core/quant-types.h"
#define WL_ISA generic
#define WL_ISA_GENERIC
#include "cpu/half.h"

using namespace cases;
using wl::CacheType;
using Bytes = std::vector<uint8_t>;

namespace {

constexpr CacheType types[] = {CacheType::f32, CacheType::f16, CacheType::bf16, CacheType::q8_0};

// One page of one slot with a row of `heads` heads.
Bytes written(const Kernels& kernels, CacheType type, const Floats& row, int64_t heads) {
  const int64_t elements = int64_t(row.size()), bytes = wl::cache_row_bytes(int64_t(type), heads, elements / heads);
  Bytes keys(bytes, 0xaa), values(bytes, 0xaa);
  const int32_t slot = 0;
  kernels.write(context_of(1), {row.data(), row.data(), &slot, keys.data(), values.data(), int64_t(type), heads, 1, elements, 1, 1, bytes});
  CHECK(keys == values);
  return keys;
}

Bytes quantized(wl::Quant type, const Floats& row) {
  Bytes blocks(wl::quantized_bytes(int64_t(type), int64_t(row.size())));
  wl::op::quantize(context_of(1), {row.data(), blocks.data(), int64_t(type), int64_t(row.size()), int64_t(blocks.size())});
  return blocks;
}

}  // namespace

TEST("rows without a slot are not written") {
  const Floats k = {1, 2, 3, 4}, v = {5, 6, 7, 8};
  const std::vector<int32_t> slots = {-1, 2};
  Floats keys(8, 9.0f), values(8, 9.0f);
  best_isa().write(context_of(1), {k.data(), v.data(), slots.data(), reinterpret_cast<uint8_t*>(keys.data()),
                                   reinterpret_cast<uint8_t*>(values.data()), 0, 1, 2, 2, 2, 2, 8});
  CHECK((keys == Floats{9, 9, 9, 9, 3, 9, 4, 9}));
  CHECK((values == Floats{9, 9, 9, 9, 7, 8, 9, 9}));
}

TEST("keys lie element by element for the tokens of a page, values token by token") {
  constexpr int64_t tokens = 3, heads = 2, size = 33;
  for (const CacheType type : types) {
    const int64_t head = wl::cache_head_bytes(int64_t(type), size), row = heads * head;
    // Bytes of an element, and of what lies together: a head, or a block with its scale.
    const int64_t element = type == CacheType::f32 ? 4 : type == CacheType::q8_0 ? 1 : 2, block = type == CacheType::q8_0 ? 34 : head;
    for (const Kernels& kernels : every_isa()) {
      Bytes keys(2 * tokens * row, 0xaa), values(keys);
      for (int32_t token = 0; token < tokens; token++) {
        const Floats k = random(heads * size, 10 + token), v = random(heads * size, 20 + token);
        const int32_t slot = int32_t(tokens) + token;
        kernels.write(context_of(1), {k.data(), v.data(), &slot, keys.data(), values.data(), int64_t(type), heads, 1, heads * size, 2, tokens, row});
        const Bytes key = written(kernels, type, k, heads), value = written(kernels, type, v, heads);
        for (int64_t h = 0; h < heads; h++) {
          const uint8_t *key_head = &keys[(tokens * row) + h * tokens * head], *value_head = &values[(tokens * row) + h * tokens * head];
          CHECK(std::equal(value_head + token * head, value_head + (token + 1) * head, &value[h * head]));
          for (int64_t at = 0; at < head; at += block) {
            for (int64_t i = 0; i < block; i++) {
              const bool scale = type == CacheType::q8_0 && i < 2;
              const int64_t unit = scale ? 2 : element, before = scale ? 0 : type == CacheType::q8_0 ? 2 : 0;
              const int64_t lies = before * tokens + (i - before) / unit * unit * tokens + token * unit + (i - before) % unit;
              CHECK_EQUAL(int(key_head[at * tokens + lies]), int(key[h * head + at + i]));
            }
          }
        }
      }
      CHECK(std::all_of(keys.begin(), keys.begin() + tokens * row, [](uint8_t byte) { return byte == 0xaa; }));
    }
  }
}

TEST("a slot beyond the pages is refused") {
  const Floats row = {1, 2};
  for (const CacheType type : types) {
    Bytes pages(2 * wl::cache_row_bytes(int64_t(type), 1, 2));
    const int32_t slot = 2;
    bool refused = false;
    try {
      best_isa().write(context_of(1), {row.data(), row.data(), &slot, pages.data(), pages.data(), int64_t(type), 1, 1, 2, 1, 2,
                                       int64_t(pages.size()) / 2});
    } catch (const wl::BadInput&) {
      refused = true;
    }
    CHECK(refused);
  }
}

TEST("whole blocks are written as GGUF files have them, on every instruction set") {
  Floats row = random(3 * 64, 1);
  for (int i = 0; i < 32; i++) row[i] = 0;
  for (int i = 32; i < 64; i++) row[i] *= 1e-6f;
  row[70] = -70000.0f;  // beyond the halves
  for (const Kernels& kernels : every_isa()) {
    CHECK(written(kernels, CacheType::q8_0, row, 3) == quantized(wl::Quant::q8_0, row));
    CHECK(written(kernels, CacheType::bf16, row, 3) == quantized(wl::Quant::bf16, row));
    row[70] = 1;
    CHECK(written(kernels, CacheType::f16, row, 3) == quantized(wl::Quant::f16, row));
    row[70] = -70000.0f;
  }
}

TEST("a head that is no whole block is filled up with zeros, which change nothing") {
  const Floats row = random(2 * 40, 2);
  Floats padded(2 * 64);
  for (int h = 0; h < 2; h++) std::copy_n(row.begin() + h * 40, 40, padded.begin() + h * 64);
  for (const Kernels& kernels : every_isa()) {
    CHECK(written(kernels, CacheType::q8_0, row, 2) == quantized(wl::Quant::q8_0, padded));
  }
}

TEST("bytes of a head are those of its type, and no other type has any") {
  CHECK_EQUAL(wl::cache_row_bytes(0, 3, 64), 3 * 256);
  CHECK_EQUAL(wl::cache_row_bytes(1, 3, 64), 3 * 128);
  CHECK_EQUAL(wl::cache_row_bytes(30, 3, 64), 3 * 128);
  CHECK_EQUAL(wl::cache_row_bytes(8, 3, 64), 3 * 68);
  CHECK_EQUAL(wl::cache_row_bytes(8, 2, 33), 2 * 68);
  CHECK_EQUAL(wl::cache_row_bytes(2, 3, 64), -1);
}

TEST("every half, every subnormal among them, comes back from a written row as it went in") {
  Floats row;
  for (uint32_t bits = 0; bits < 0x10000; bits++) {
    if ((bits & 0x7c00) != 0x7c00) row.push_back(wl::generic::half_to_float(uint16_t(bits)));
  }
  for (const Kernels& kernels : every_isa()) {
    const Bytes halves = written(kernels, CacheType::f16, row, 1);
    for (size_t i = 0; i < row.size(); i++) CHECK_EQUAL(wl::generic::bits_of(wl::generic::load_half(&halves[2 * i])), wl::generic::bits_of(row[i]));
  }
}

TEST("a value that is not finite does not go under in a block of bytes") {
  for (const float fault : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Floats row = random(64, 3);
    row[40] = fault;
    for (const Kernels& kernels : every_isa()) {
      const Bytes blocks = written(kernels, CacheType::q8_0, row, 1);
      CHECK(std::isfinite(wl::generic::load_half(blocks.data())));
      CHECK(std::isnan(wl::generic::load_half(blocks.data() + wl::cache_block_bytes)));
    }
  }
}

TEST_MAIN
