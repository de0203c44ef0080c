// Softmax cross-entropy on the vocabulary projection in float64: what the fused kernel is compared with.
#pragma once

#include <cstdint>
#include <vector>

namespace wl::reference {

struct LossShape {
  int64_t rows, size, vocabulary;
};

struct LossGradients {
  // Each with the sum of the absolute values of what it adds, for bounds of rounding errors; the probability of the target
  // and the one taken from it count both, because the rounding of the probability stays when they cancel.
  std::vector<double> dh, dh_magnitude, dw, dw_magnitude;
};

// h [rows, size], w [vocabulary, size]; a row with a negative target has loss 0.
std::vector<double> cross_entropy(const LossShape& shape, const std::vector<double>& h, const std::vector<double>& w,
                                  const std::vector<int32_t>& targets);

// Gradients of weight * sum(cross_entropy(h, w, targets)).
LossGradients cross_entropy_backward(const LossShape& shape, const std::vector<double>& h, const std::vector<double>& w,
                                     const std::vector<int32_t>& targets, double weight);

}  // namespace wl::reference
