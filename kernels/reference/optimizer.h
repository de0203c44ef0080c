// AdamW in float64: what the kernel is compared with.
#pragma once

#include <cstdint>
#include <vector>

namespace wl::reference {

struct AdamWSettings {
  double rate, beta1, beta2, eps, decay;
};

// `drift` bounds what a float32 computation of `params` may be off by after the steps so far; `magnitude` is `first` of absolute gradients.
struct AdamWState {
  std::vector<double> params, first, second, magnitude, drift;

  explicit AdamWState(const std::vector<double>& start);
};

// Step `step`, counted from 1 (Loshchilov and Hutter 2019, algorithm 2, with a constant schedule); gradients are taken times `factor`.
void adamw(AdamWState& state, const std::vector<double>& grads, const AdamWSettings& settings, double factor, int64_t step);

}  // namespace wl::reference
