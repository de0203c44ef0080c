// RMSNorm and LayerNorm in float64, and their gradients by the chain rule through each intermediate value.
#pragma once

#include <cstdint>
#include <vector>

namespace wl::reference {

struct NormShape {
  int64_t rows, size;
  double eps;
  /** LayerNorm takes off the mean first; RMSNorm does not. */
  bool centred;
};

struct NormResult {
  std::vector<double> y, mean, inverse;
};

struct NormGradients {
  std::vector<double> dx, dw, db;
};

// h [rows, size], w [size], b [size] or empty.
NormResult norm_forward(const NormShape& shape, const std::vector<double>& h, const std::vector<double>& w, const std::vector<double>& b);

// Gradients of sum(dy * norm_forward(h, w, b).y).
NormGradients norm_backward(const NormShape& shape, const std::vector<double>& dy, const std::vector<double>& h, const std::vector<double>& w);

}  // namespace wl::reference
