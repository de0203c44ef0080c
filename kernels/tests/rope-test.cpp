// Rotary positions against float64, their inverse, aliasing, and the same bits for every instruction set.
#include "attention-cases.h"

using namespace cases;

namespace {

struct Inputs {
  int64_t rows, heads, half, positions_known;
  Floats x, cos, sin;
  std::vector<int32_t> positions;
};

Inputs inputs_of(int64_t rows, int64_t heads, int64_t half) {
  Inputs in = {rows, heads, half, 300, random(rows * heads * 2 * half, 5), {}, {}, {}};
  for (int64_t p = 0; p < in.positions_known; p++) {
    for (int64_t i = 0; i < half; i++) {
      const double angle = double(p) * std::pow(10000.0, -double(i) / double(half));
      in.cos.push_back(float(std::cos(angle)));
      in.sin.push_back(float(std::sin(angle)));
    }
  }
  for (int64_t t = 0; t < rows; t++) in.positions.push_back(int32_t((t * 37) % in.positions_known));
  return in;
}

void run(const Kernels& kernels, wl::Context& context, const Inputs& in, const float* x, float* y, bool inverse) {
  kernels.rope(context, {x, in.positions.data(), in.cos.data(), in.sin.data(), y, inverse, in.rows, in.heads * 2 * in.half,
                         in.positions_known, in.half});
}

const std::vector<Inputs>& cases_of_rope() {
  static const std::vector<Inputs> all = {inputs_of(1, 1, 1),  inputs_of(7, 3, 4),   inputs_of(65, 2, 12), inputs_of(33, 6, 16),
                                          inputs_of(20, 5, 17), inputs_of(129, 2, 40), inputs_of(40, 12, 32), inputs_of(9, 4, 64)};
  return all;
}

}  // namespace

TEST("rope and its inverse stay within the rounding bounds of float64") {
  for (const Inputs& in : cases_of_rope()) {
    for (const bool inverse : {false, true}) {
      Floats y(in.x.size(), std::nanf(""));
      run(best_isa(), context_of(1), in, in.x.data(), y.data(), inverse);
      within(y, wl::reference::rope(wide(in.x), in.positions, wide(in.cos), wide(in.sin), in.half, inverse), "y");
    }
  }
}

TEST("rope puts each half's turn where the reference model puts it") {
  // A quarter turn at position 1: (x1, x2) becomes (-x2, x1), and the inverse undoes it.
  const Floats x = {1, 2, 3, 4}, cos = {1, 1, 0, 0}, sin = {0, 0, 1, 1};
  const std::vector<int32_t> positions = {1};
  Floats y(4);
  best_isa().rope(context_of(1), {x.data(), positions.data(), cos.data(), sin.data(), y.data(), 0, 1, 4, 2, 2});
  CHECK((y == Floats{-3, -4, 1, 2}));
  best_isa().rope(context_of(1), {y.data(), positions.data(), cos.data(), sin.data(), y.data(), 1, 1, 4, 2, 2});
  CHECK((y == x));
}

TEST("every instruction set and thread count turns to the same bits, in place or not") {
  for (const Inputs& in : cases_of_rope()) {
    for (const bool inverse : {false, true}) {
      Floats wanted(in.x.size());
      run(every_isa().front(), context_of(1), in, in.x.data(), wanted.data(), inverse);
      for (const Kernels& kernels : every_isa()) {
        for (int threads = 1; threads <= 3; threads++) {
          Floats y = in.x;
          run(kernels, context_of(threads), in, y.data(), y.data(), inverse);
          CHECK(same_bits(y, wanted));
        }
      }
    }
  }
}

TEST("a row is turned to the same bits wherever it stands in the batch") {
  const Inputs in = inputs_of(50, 3, 12);
  const int64_t width = in.heads * 2 * in.half;
  Floats all(in.x.size());
  run(best_isa(), context_of(2), in, in.x.data(), all.data(), false);
  for (int64_t t = 0; t < in.rows; t++) {
    Inputs one = in;
    one.rows = 1;
    one.positions = {in.positions[t]};
    Floats y(width);
    run(best_isa(), context_of(1), one, in.x.data() + t * width, y.data(), false);
    CHECK(std::memcmp(y.data(), all.data() + t * width, width * sizeof(float)) == 0);
  }
}

TEST_MAIN
