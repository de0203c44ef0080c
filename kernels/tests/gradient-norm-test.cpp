// The global norm in its three steps: exact integers, their independence of order and sharding, and the distance to float64.
#include "tests/tensor-list.h"

namespace {

using every::Floats;
using every::Integers;
using every::List;
using every::same_bits;

// The operations of one instruction set.
struct Norm {
  void (*largest)(wl::Context&, const wl::squares_max_args&);
  void (*sum)(wl::Context&, const wl::squares_sum_args&);
  void (*finish)(wl::Context&, const wl::norm_finish_args&);

  float largest_of(const List& x, int threads = 1) const {
    float value;
    largest(every::context_of(threads), {x.data.data(), x.sizes.data(), x.count(), &value});
    return value;
  }
  Integers total_of(const List& x, float largest, int threads = 1) const {
    Integers total(8, -1);
    sum(every::context_of(threads), {x.data.data(), x.sizes.data(), x.count(), &largest, total.data()});
    return total;
  }
  float norm_of(const Integers& totals, float largest) const {
    float norm;
    finish(every::context_of(1), {totals.data(), &largest, &norm, static_cast<int64_t>(totals.size()) / 8});
    return norm;
  }
  float operator()(const List& x, int threads = 1) const {
    const float most = largest_of(x, threads);
    return norm_of(total_of(x, most, threads), most);
  }
};

std::vector<Norm> each_isa() {
  const auto largest = EVERY_ISA(squares_max);
  const auto sum = EVERY_ISA(squares_sum);
  const auto finish = EVERY_ISA(norm_finish);
  std::vector<Norm> all;
  for (size_t i = 0; i < sum.size(); ++i) all.push_back({largest[i].run, sum[i].run, finish[i].run});
  return all;
}

List list_of(const std::vector<Floats>& tensors) {
  List list({}, 0);
  list.tensors = tensors;
  for (Floats& tensor : list.tensors) {
    list.data.push_back(tensor.data());
    list.sizes.push_back(static_cast<int64_t>(tensor.size()));
  }
  return list;
}

const std::vector<int64_t> sizes = {1, 4096, 17, 4097, 8191, 3, 16, 20000};

// Gradients of all sizes: magnitudes from `factor` down to far below what counts.
List spread(float factor, uint64_t seed) {
  List list(sizes, seed, factor);
  every::Numbers numbers(seed);
  for (Floats& tensor : list.tensors) {
    for (float& value : tensor) value *= std::ldexp(1.0f, -static_cast<int>(numbers.below(40)));
  }
  return list;
}

}  // namespace

TEST("the largest magnitude and the total are exact, on every instruction set and number of threads") {
  for (const float factor : {1.0f, 3e-38f, 1e37f, 1e-20f}) {
    const List x = spread(factor, 5);
    float largest = 0;
    for (const Floats& tensor : x.tensors) {
      for (const float value : tensor) largest = std::max(largest, std::abs(value));
    }
    int exponent;
    std::frexp(largest, &exponent);
    unsigned __int128 quanta = 0;
    for (const Floats& tensor : x.tensors) {
      for (const float value : tensor) {
        const double square = static_cast<double>(value) * static_cast<double>(value);
        quanta += static_cast<uint64_t>(std::nearbyint(std::ldexp(square, 50 - 2 * exponent)));
      }
    }
    Integers wanted;
    for (int w = 0; w < 8; ++w) wanted.push_back(static_cast<int32_t>(quanta >> (16 * w) & 0xffff));
    for (const Norm& norm : each_isa()) {
      for (const int threads : {1, 2, 3}) {
        CHECK(same_bits(norm.largest_of(x, threads), largest));
        CHECK(norm.total_of(x, largest, threads) == wanted);
      }
    }
  }
}

TEST("order, cuts and ranks leave the norm as it is") {
  const List whole = spread(1.0f, 9);
  const Norm norm = each_isa().back();
  const float wanted = norm(whole);
  Floats all;
  for (const Floats& tensor : whole.tensors) all.insert(all.end(), tensor.begin(), tensor.end());
  CHECK(same_bits(norm(list_of({all})), wanted));
  std::vector<Floats> turned(whole.tensors.rbegin(), whole.tensors.rend());
  for (Floats& tensor : turned) std::reverse(tensor.begin(), tensor.end());
  CHECK(same_bits(norm(list_of(turned)), wanted));
  for (const size_t ranks : {2, 3, 7, 64}) {
    const float largest = norm.largest_of(whole);
    Integers totals, added(8, 0);
    for (size_t r = 0; r < ranks; ++r) {
      const Floats part(all.begin() + all.size() * r / ranks, all.begin() + all.size() * (r + 1) / ranks);
      const Integers total = norm.total_of(list_of({part}), largest);
      totals.insert(totals.end(), total.begin(), total.end());
      for (int w = 0; w < 8; ++w) added[w] += total[w];
    }
    CHECK(same_bits(norm.norm_of(totals, largest), wanted));
    // Words that were added without carrying, as a reduction over ranks adds them.
    CHECK(same_bits(norm.norm_of(added, largest), wanted));
  }
}

TEST("the norm is within the rounding of its quanta of float64") {
  for (const float factor : {1.0f, 3e-38f, 1e36f, 1e-20f}) {
    for (const uint64_t seed : {1, 2, 3}) {
      const List x = spread(factor, seed);
      long double squares = 0;
      int64_t count = 0;
      for (const Floats& tensor : x.tensors) {
        for (const float value : tensor) squares += static_cast<long double>(value) * static_cast<long double>(value);
        count += static_cast<int64_t>(tensor.size());
      }
      const double wanted = static_cast<double>(std::sqrt(squares));
      // In units of 4^e each of n squares is off by at most half a quantum, 2^-51, and the largest alone is at least 1/4: the sum is off by
      // n 2^-49 of itself, its root by half of that. Then the result is rounded to float32, where it may be denormal, and double adds 2^-51.
      const double bound = wanted * (static_cast<double>(count) * 0x1p-50 + 0x1p-24 + 0x1p-51) + 0x1p-150;
      every::within({each_isa().back()(x, 2)}, {wanted}, "norm", [&](size_t) { return bound; });
    }
  }
}

TEST("squares that float32 can't hold do not overflow the norm, and 0, infinity and NaN come through") {
  for (const Norm& norm : each_isa()) {
    const auto of = [&](const Floats& x) { return norm(list_of({x})); };
    CHECK_EQUAL(of({3e30f, 4e30f}), 5e30f);
    CHECK_EQUAL(of({-3e-30f, 4e-30f}), 5e-30f);
    CHECK_EQUAL(of({0x3p-149f, 0x4p-149f}), 0x5p-149f);
    CHECK(same_bits(of({0.0f, -0.0f}), 0.0f));
    CHECK(std::isnan(of({1.0f, std::nanf(""), INFINITY})));
    CHECK_EQUAL(of({1.0f, -INFINITY}), INFINITY);
    CHECK_EQUAL(of(Floats(1 << 16, 3e38f)), INFINITY);
    CHECK_EQUAL(of(Floats(1 << 16, 1.0f)), 256.0f);
  }
}

TEST("a rank without tensors adds nothing") {
  for (const Norm& norm : each_isa()) {
    const List none = list_of({});
    CHECK(same_bits(norm.largest_of(none), 0.0f));
    CHECK(norm.total_of(none, 2.5f) == Integers(8, 0));
  }
}

TEST_MAIN
