// Linear layers in float64: every sum is a plain loop in index order.
#include "reference/linear.h"

#include <cmath>

namespace wl::reference {
namespace {

struct Sum {
  double value = 0;
  double magnitude = 0;

  void add(double term) {
    value += term;
    magnitude += std::abs(term);
  }
};

void append(Sums& sums, const Sum& sum) {
  sums.value.push_back(sum.value);
  sums.magnitude.push_back(sum.magnitude);
}

}  // namespace

Sums linear_forward(const LinearShape& shape, const std::vector<double>& x, const std::vector<double>& w, const std::vector<double>& bias) {
  Sums y;
  for (int64_t m = 0; m < shape.rows; ++m) {
    for (int64_t n = 0; n < shape.outputs; ++n) {
      Sum sum;
      for (int64_t k = 0; k < shape.inputs; ++k) sum.add(x[m * shape.inputs + k] * w[n * shape.inputs + k]);
      if (!bias.empty()) sum.add(bias[n]);
      append(y, sum);
    }
  }
  return y;
}

LinearGradients linear_backward(const LinearShape& shape, const std::vector<double>& dy, const std::vector<double>& x,
                                const std::vector<double>& w) {
  LinearGradients g;
  for (int64_t m = 0; m < shape.rows; ++m) {
    for (int64_t k = 0; k < shape.inputs; ++k) {
      Sum sum;
      for (int64_t n = 0; n < shape.outputs; ++n) sum.add(dy[m * shape.outputs + n] * w[n * shape.inputs + k]);
      append(g.dx, sum);
    }
  }
  for (int64_t n = 0; n < shape.outputs; ++n) {
    for (int64_t k = 0; k < shape.inputs; ++k) {
      Sum sum;
      for (int64_t m = 0; m < shape.rows; ++m) sum.add(dy[m * shape.outputs + n] * x[m * shape.inputs + k]);
      append(g.dw, sum);
    }
    Sum sum;
    for (int64_t m = 0; m < shape.rows; ++m) sum.add(dy[m * shape.outputs + n]);
    append(g.dbias, sum);
  }
  return g;
}

}  // namespace wl::reference
