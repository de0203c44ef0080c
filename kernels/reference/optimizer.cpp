// AdamW in float64, one scalar at a time.
#include "reference/optimizer.h"

#include <cmath>

namespace wl::reference {

AdamWState::AdamWState(const std::vector<double>& start)
    : params(start), first(start.size()), second(start.size()), magnitude(start.size()), drift(start.size()) {}

void adamw(AdamWState& state, const std::vector<double>& grads, const AdamWSettings& s, double factor, int64_t step) {
  constexpr double roundoff = 0x1p-24;
  const double correction1 = 1 - std::pow(s.beta1, static_cast<double>(step));
  const double correction2 = 1 - std::pow(s.beta2, static_cast<double>(step));
  for (size_t i = 0; i < grads.size(); ++i) {
    const double gradient = grads[i] * factor;
    state.first[i] = s.beta1 * state.first[i] + (1 - s.beta1) * gradient;
    state.second[i] = s.beta2 * state.second[i] + (1 - s.beta2) * gradient * gradient;
    state.magnitude[i] = s.beta1 * state.magnitude[i] + (1 - s.beta1) * std::abs(gradient);
    const double divisor = std::sqrt(state.second[i] / correction2) + s.eps;
    const double pace = s.rate / correction1 / divisor;
    // Roundings: 5 of a gradient and its factor and 2 a step in each moment, half of those of the square in its root, 5 in the quotient;
    // the moments are not rounded to nothing, because tests keep gradients away from the smallest floats.
    const double roundings = 4 * static_cast<double>(step) + 20;
    state.params[i] = state.params[i] * (1 - s.rate * s.decay) - pace * state.first[i];
    state.drift[i] += roundoff * (3 * std::abs(state.params[i]) + (3 + roundings) * pace * state.magnitude[i]);
  }
}

}  // namespace wl::reference
