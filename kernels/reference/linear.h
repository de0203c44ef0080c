// Linear layers in float64, one scalar loop each: what the kernels are compared with.
#pragma once

#include <cstdint>
#include <vector>

namespace wl::reference {

struct LinearShape {
  int64_t rows, outputs, inputs;
};

// Sums and, for bounds of rounding errors, the sums of the absolute values of what they add.
struct Sums {
  std::vector<double> value, magnitude;
};

struct LinearGradients {
  Sums dx, dw, dbias;
};

// x [rows, inputs], w [outputs, inputs], bias [outputs] or empty; gives y [rows, outputs].
Sums linear_forward(const LinearShape& shape, const std::vector<double>& x, const std::vector<double>& w, const std::vector<double>& bias);

// Gradients of sum(dy * linear_forward(x, w, bias)).
LinearGradients linear_backward(const LinearShape& shape, const std::vector<double>& dy, const std::vector<double>& x,
                                const std::vector<double>& w);

}  // namespace wl::reference
