// Elementary functions and vector operations: error bounds over the whole range of floats, special values, and equal bits everywhere.
#include <limits>

#include "tests/every-isa.h"
#include "tests/probes.h"

namespace {

using every::Floats;
using wl::Elementary;
using wl::Lanes;

constexpr float infinity = std::numeric_limits<float>::infinity();
const float not_a_number = std::nanf("");

/** Each `stride`th bit pattern, NaN and infinity included; a multiple of 16 of them. */
Floats patterns(uint32_t stride) {
  Floats x;
  for (uint64_t pattern = 0; pattern <= UINT32_MAX; pattern += stride) {
    const uint32_t word = static_cast<uint32_t>(pattern);
    float value;
    std::memcpy(&value, &word, sizeof value);
    x.push_back(value);
  }
  while (x.size() % 16 != 0) x.push_back(0.0f);
  return x;
}

Floats apply(Elementary f, const Floats& x, void (*probe)(Elementary, const float*, float*, int64_t)) {
  Floats y(x.size());
  probe(f, x.data(), y.data(), static_cast<int64_t>(x.size()));
  return y;
}

auto probes() { return EVERY_ISA(probe_elementary); }

float at(Elementary f, float x) { return apply(f, Floats(16, x), probes().back().run)[7]; }

/** Distance in units of the last place of the wanted value, of which subnormal numbers have one size. */
double ulps(float seen, double wanted) {
  const int exponent = wanted == 0 ? -126 : std::max(std::ilogb(wanted), -126);
  return std::abs(static_cast<double>(seen) - wanted) / std::ldexp(1.0, exponent - 23);
}

/** The largest error over the patterns between low and high. */
void at_most(double bound, const char* name, Elementary f, double (*wanted)(double), float low, float high) {
  Floats x = patterns(509);
  std::erase_if(x, [&](float value) { return !(value >= low && value <= high); });
  x.resize((x.size() + 15) / 16 * 16, 1.0f);
  const Floats y = apply(f, x, probes().back().run);
  double worst = 0;
  float where = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double off = ulps(y[i], wanted(static_cast<double>(x[i])));
    if (!(off <= worst)) worst = off, where = x[i];
  }
  std::printf("     %s: %.3f ulp at %.9g, %zu values\n", name, worst, static_cast<double>(where), x.size());
  if (!(worst <= bound)) check::fault(__FILE__, __LINE__, std::string(name) + " is " + std::to_string(worst) + " ulp off");
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

}  // namespace

TEST("elementary functions are within the documented bounds over all floats") {
  at_most(1.0, "exp", Elementary::exp, std::exp, -110.0f, 88.7228317f);
  at_most(0.8, "log", Elementary::log, std::log, std::numeric_limits<float>::denorm_min(), std::numeric_limits<float>::max());
  at_most(1.3, "tanh", Elementary::tanh, std::tanh, -infinity, infinity);
  at_most(1.1, "erf", Elementary::erf, std::erf, -infinity, infinity);
  // Below -88.7 e^-x overflows and 0 comes out for what would be a number next to the subnormal ones.
  at_most(2.5, "sigmoid", Elementary::sigmoid, sigmoid, -86.0f, infinity);
}

TEST("sine and cosine of a turn are within 1.5e-7, and exact at the quarters") {
  Floats u(1 << 20);
  for (size_t i = 0; i < u.size(); ++i) u[i] = static_cast<float>(i * 16 + i % 16) * 0x1p-24f;
  const Floats sine = apply(Elementary::sine, u, probes().back().run), cosine = apply(Elementary::cosine, u, probes().back().run);
  double worst = 0;
  for (size_t i = 0; i < u.size(); ++i) {
    const double angle = 2 * M_PI * static_cast<double>(u[i]);
    worst = std::max({worst, std::abs(static_cast<double>(sine[i]) - std::sin(angle)), std::abs(static_cast<double>(cosine[i]) - std::cos(angle))});
  }
  std::printf("     sine, cosine: %.3g\n", worst);
  CHECK(worst <= 1.5e-7);
  const float quarter_sines[] = {0.0f, 1.0f, 0.0f, -1.0f};
  for (int q = 0; q < 4; ++q) {
    CHECK_EQUAL(at(Elementary::sine, 0.25f * static_cast<float>(q)), quarter_sines[q]);
    CHECK_EQUAL(at(Elementary::cosine, 0.25f * static_cast<float>(q)), quarter_sines[(q + 1) % 4]);
  }
}

TEST("special values have their mathematical results") {
  CHECK_EQUAL(at(Elementary::exp, 0.0f), 1.0f);
  CHECK_EQUAL(at(Elementary::exp, infinity), infinity);
  CHECK_EQUAL(at(Elementary::exp, 89.0f), infinity);
  CHECK_EQUAL(at(Elementary::exp, 88.7f) < infinity, true);
  CHECK_EQUAL(at(Elementary::exp, -infinity), 0.0f);
  CHECK_EQUAL(at(Elementary::exp, -104.0f), 0.0f);
  CHECK_EQUAL(at(Elementary::exp, -103.9f), std::numeric_limits<float>::denorm_min());
  CHECK_EQUAL(at(Elementary::log, 0.0f), -infinity);
  CHECK_EQUAL(at(Elementary::log, -0.0f), -infinity);
  CHECK_EQUAL(at(Elementary::log, 1.0f), 0.0f);
  CHECK_EQUAL(at(Elementary::log, infinity), infinity);
  CHECK(std::isnan(at(Elementary::log, -1.0f)));
  CHECK(std::isnan(at(Elementary::log, -infinity)));
  CHECK_EQUAL(at(Elementary::tanh, infinity), 1.0f);
  CHECK_EQUAL(at(Elementary::tanh, -infinity), -1.0f);
  CHECK_EQUAL(at(Elementary::erf, infinity), 1.0f);
  CHECK_EQUAL(at(Elementary::erf, -infinity), -1.0f);
  CHECK_EQUAL(at(Elementary::sigmoid, infinity), 1.0f);
  CHECK_EQUAL(at(Elementary::sigmoid, -infinity), 0.0f);
  CHECK_EQUAL(at(Elementary::sigmoid, 0.0f), 0.5f);
  CHECK(std::signbit(at(Elementary::tanh, -0.0f)));
  CHECK(std::signbit(at(Elementary::erf, -0.0f)));
  for (const Elementary f : {Elementary::exp, Elementary::log, Elementary::tanh, Elementary::erf, Elementary::sigmoid}) {
    CHECK(std::isnan(at(f, not_a_number)));
  }
}

TEST("every instruction set gives the same bits of elementary functions") {
  const Floats x = patterns(3037);
  for (const Elementary f : {Elementary::exp, Elementary::log, Elementary::tanh, Elementary::erf, Elementary::sigmoid}) {
    const Floats first = apply(f, x, probes().front().run);
    for (const auto& probe : probes()) CHECK(every::same_bits(apply(f, x, probe.run), first));
  }
  Floats turns(1 << 16);
  for (size_t i = 0; i < turns.size(); ++i) turns[i] = static_cast<float>(i) * 0x1p-16f;
  for (const Elementary f : {Elementary::sine, Elementary::cosine}) {
    const Floats first = apply(f, turns, probes().front().run);
    for (const auto& probe : probes()) CHECK(every::same_bits(apply(f, turns, probe.run), first));
  }
}

TEST("every instruction set gives the same bits of vector operations, NaN and signed zeros included") {
  const auto all = EVERY_ISA(probe_lanes);
  const float special[] = {0.0f, -0.0f, 1.0f, -1.0f, infinity, -infinity, not_a_number, 1e-45f, -1e-45f, 3e38f, 0.5f, 1.5f, 2.5f, -2.5f, 3e9f, 1e20f};
  every::Numbers numbers(11);
  for (int round = 0; round < 400; ++round) {
    float a[16], b[16];
    for (int i = 0; i < 16; ++i) {
      a[i] = round % 2 == 0 ? special[numbers.below(16)] : numbers.one() * 100.0f;
      b[i] = round % 3 == 0 ? special[numbers.below(16)] : numbers.one() * 100.0f;
    }
    for (int f = 0; f <= static_cast<int>(Lanes::copy_sign); ++f) {
      const int64_t count = numbers.below(17);
      float first[16], seen[16];
      all.front().run(static_cast<Lanes>(f), a, b, count, first);
      for (const auto& variant : all) {
        variant.run(static_cast<Lanes>(f), a, b, count, seen);
        for (int i = 0; i < 16; ++i) {
          // Which of two NaNs comes out of a sum is up to the compiler, so that only its being one counts.
          if (every::same_bits(first[i], seen[i]) || (std::isnan(first[i]) && std::isnan(seen[i]))) continue;
          check::fault(__FILE__, __LINE__, std::string(variant.isa) + " differs in operation " + std::to_string(f) + ", lane " + std::to_string(i));
        }
      }
    }
  }
}

TEST("partial loads read nothing beyond their elements and fill up with zeros") {
  for (const auto& variant : EVERY_ISA(probe_lanes)) {
    for (int64_t count = 0; count <= 16; ++count) {
      float a[16], y[16];
      for (int i = 0; i < 16; ++i) a[i] = static_cast<float>(i + 1);
      variant.run(Lanes::load_first, a, a, count, y);
      for (int i = 0; i < 16; ++i) CHECK_EQUAL(y[i], i < count ? a[i] : 0.0f);
    }
  }
}

TEST("the sum of lanes is the tree of l and l + 8, + 4, + 2, + 1") {
  const Floats a = every::values(16, 3);
  Floats tree = a;
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) tree[i] += tree[i + width];
  }
  float y[16];
  for (const auto& variant : EVERY_ISA(probe_lanes)) {
    variant.run(Lanes::reduce_add, a.data(), a.data(), 16, y);
    CHECK(every::same_bits(y[0], tree[0]));
  }
}

TEST_MAIN
