// AdamW in float64, as in Loshchilov and Hutter 2019, algorithm 2, with PyTorch's place of epsilon.
#include "reference/optimizer.h"

#include <cmath>

namespace wl::reference {

AdamWState adamw(const AdamWSettings& s, const AdamWState& before, double gradient) {
  AdamWState after = before;
  after.first = s.beta1 * before.first + (1 - s.beta1) * gradient;
  after.second = s.beta2 * before.second + (1 - s.beta2) * gradient * gradient;
  const double step = static_cast<double>(s.step);
  const double first = after.first / (1 - std::pow(s.beta1, step)), second = after.second / (1 - std::pow(s.beta2, step));
  after.parameter = before.parameter * (1 - s.rate * s.decay) - s.rate * first / (std::sqrt(second) + s.eps);
  return after;
}

}  // namespace wl::reference
