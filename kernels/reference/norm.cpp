// RMSNorm and LayerNorm in float64, and their gradients by the chain rule through each intermediate value.
#include "reference/norm.h"

#include <cmath>

namespace wl::reference {

NormResult norm_forward(const NormShape& shape, const std::vector<double>& h, const std::vector<double>& w, const std::vector<double>& b) {
  const int64_t n = shape.size;
  NormResult result;
  for (int64_t row = 0; row < shape.rows; ++row) {
    const double* x = h.data() + row * n;
    double mean = 0, square = 0;
    for (int64_t i = 0; i < n && shape.centred; ++i) mean += x[i] / static_cast<double>(n);
    for (int64_t i = 0; i < n; ++i) square += (x[i] - mean) * (x[i] - mean) / static_cast<double>(n);
    const double inverse = 1 / std::sqrt(square + shape.eps);
    for (int64_t i = 0; i < n; ++i) result.y.push_back((x[i] - mean) * inverse * w[i] + (b.empty() ? 0 : b[i]));
    result.mean.push_back(mean);
    result.inverse.push_back(inverse);
  }
  return result;
}

NormGradients norm_backward(const NormShape& shape, const std::vector<double>& dy, const std::vector<double>& h, const std::vector<double>& w) {
  const int64_t n = shape.size;
  const double count = static_cast<double>(n);
  const NormResult forward = norm_forward(shape, h, w, {});
  NormGradients gradients{std::vector<double>(h.size()), std::vector<double>(w.size()), std::vector<double>(w.size())};
  for (int64_t row = 0; row < shape.rows; ++row) {
    const double mean = forward.mean[row], inverse = forward.inverse[row];
    // centred = h - mean; y = centred * inverse * w; inverse = (mean(centred^2) + eps)^-1/2.
    double d_inverse = 0;
    for (int64_t i = 0; i < n; ++i) {
      const int64_t at = row * n + i;
      gradients.dw[i] += dy[at] * (h[at] - mean) * inverse;
      gradients.db[i] += dy[at];
      d_inverse += dy[at] * w[i] * (h[at] - mean);
    }
    const double d_square = -0.5 * inverse * inverse * inverse * d_inverse;
    double total = 0;
    for (int64_t i = 0; i < n; ++i) {
      const int64_t at = row * n + i;
      gradients.dx[at] = dy[at] * w[i] * inverse + d_square * 2 * (h[at] - mean) / count;
      total += gradients.dx[at];
    }
    for (int64_t i = 0; i < n && shape.centred; ++i) gradients.dx[row * n + i] -= total / count;
  }
  return gradients;
}

}  // namespace wl::reference
