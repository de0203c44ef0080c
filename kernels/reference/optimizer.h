// AdamW in float64, as in Loshchilov and Hutter 2019, algorithm 2, with PyTorch's place of epsilon.
#pragma once

#include <cstdint>

namespace wl::reference {

struct AdamWSettings {
  double rate, beta1, beta2, eps, decay;
  int64_t step;
};

struct AdamWState {
  double parameter, first, second;
};

AdamWState adamw(const AdamWSettings& settings, const AdamWState& before, double gradient);

}  // namespace wl::reference
