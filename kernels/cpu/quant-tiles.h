// Unpacked panels of quantised weights, multiplied by tiles (AMX): a run of 32 terms of 16 rows with 16 columns is one instruction. Sums of
// products are exact, so they are those of the other instructions.
#pragma once

#include "cpu/quant-panel.h"
#include "cpu/quant-rows.h"
#include "cpu/tile.h"

#if defined(WL_ISA_AVX512)

namespace wl::WL_ISA {

/**
 * A panel whose products with a tile of rows come from memory, where the tiles leave them. One run is multiplied and the one before it stored
 * while a third is scaled, each in registers of its own, since one waits long for the one before it in the same. Codes are signed.
 */
template <class Wide>
struct Tiled : Wide {
  /** Runs that are on their way. */
  static constexpr int stages = tile::sums;

  /** What one thread keeps: the products of runs that are on their way. */
  struct Buffers {
    alignas(64) int32_t products[stages][16 * 16];
  };

  int64_t runs;
  Buffers* buffers;
  tile::Scope* tiles;

  Tiled(const Wide& wide, int64_t terms, Buffers* memory, tile::Scope* scope) : Wide(wide), runs(terms / 32), buffers(memory), tiles(scope) {}

  /** The products of run b with row r. */
  Words products(int64_t b, int r) const { return {_mm512_load_si512(buffers->products[b % stages] + r * 16)}; }

  /** To be called for run after run, from the first: sees to it that its products are there. */
  template <int rows>
  void advance(const RowTile& x, int64_t b) const {
    if (b == 0) {
      tiles->shape<rows, 32>();
      multiply<rows, 0>(x, 0);
      store<0>();
      if (runs > 1) multiply<rows, 1>(x, 1);
    }
    switch (b % stages) {
      case 0: return step<rows, 0>(x, b);
      case 1: return step<rows, 1>(x, b);
      case 2: return step<rows, 2>(x, b);
      default: return step<rows, 3>(x, b);
    }
  }

 private:
  template <int rows, int stage>
  void step(const RowTile& x, int64_t b) const {
    if (b + 2 < runs) multiply<rows, (stage + 2) % stages>(x, b + 2);
    if (b + 1 < runs) store<(stage + 1) % stages>();
  }

  template <int rows, int stage>
  void multiply(const RowTile& x, int64_t b) const {
    constexpr int left = tile::left + stage % 2, right = tile::right + stage % 2;
    tile::load<left>(x.codes + b * rows * 8, 32);
    tile::load<right>(this->codes + b * 512, 64);
    tile::clear<stage>();
    tile::add_bytes<stage, left, right>();
  }

  template <int stage>
  void store() const {
    tile::store<stage>(buffers->products[stage], 64);
  }
};

}  // namespace wl::WL_ISA

#endif

namespace wl::WL_ISA {

/** What one thread multiplies unpacked panels by: gives a panel as its instructions want it. */
template <class Wide, bool tiled>
class Multiplier {
 public:
  explicit Multiplier(int64_t) {}
  Wide operator()(const Wide& wide) const { return wide; }
};

#if defined(WL_ISA_AVX512)
template <class Wide>
class Multiplier<Wide, true> {
 public:
  explicit Multiplier(int64_t terms) : terms_(terms) {}
  Tiled<Wide> operator()(const Wide& wide) { return {wide, terms_, &buffers_, &scope_}; }

 private:
  const int64_t terms_;
  typename Tiled<Wide>::Buffers buffers_;
  tile::Scope scope_;
};
#endif

}  // namespace wl::WL_ISA
