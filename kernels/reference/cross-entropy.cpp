// Softmax cross-entropy in float64: one row of logits at a time, every sum a plain loop.
#include "reference/cross-entropy.h"

#include <algorithm>
#include <cmath>

namespace wl::reference {
namespace {

struct Row {
  std::vector<double> logits;
  double lse;
};

Row row_of(const LossShape& shape, const std::vector<double>& h, const std::vector<double>& w, int64_t m) {
  Row row{std::vector<double>(static_cast<size_t>(shape.vocabulary)), 0};
  for (int64_t v = 0; v < shape.vocabulary; ++v) {
    for (int64_t d = 0; d < shape.size; ++d) row.logits[v] += h[m * shape.size + d] * w[v * shape.size + d];
  }
  const double largest = *std::max_element(row.logits.begin(), row.logits.end());
  double sum = 0;
  for (const double logit : row.logits) sum += std::exp(logit - largest);
  row.lse = largest + std::log(sum);
  return row;
}

}  // namespace

std::vector<double> cross_entropy(const LossShape& shape, const std::vector<double>& h, const std::vector<double>& w,
                                  const std::vector<int32_t>& targets) {
  std::vector<double> losses;
  for (int64_t m = 0; m < shape.rows; ++m) {
    const Row row = row_of(shape, h, w, m);
    losses.push_back(targets[m] < 0 ? 0.0 : row.lse - row.logits[targets[m]]);
  }
  return losses;
}

LossGradients cross_entropy_backward(const LossShape& shape, const std::vector<double>& h, const std::vector<double>& w,
                                     const std::vector<int32_t>& targets, double weight) {
  LossGradients g{std::vector<double>(h.size()), std::vector<double>(h.size()), std::vector<double>(w.size()), std::vector<double>(w.size())};
  for (int64_t m = 0; m < shape.rows; ++m) {
    if (targets[m] < 0) continue;
    const Row row = row_of(shape, h, w, m);
    for (int64_t v = 0; v < shape.vocabulary; ++v) {
      const double probability = std::exp(row.logits[v] - row.lse);
      const double wanted = v == targets[m] ? 1 : 0;
      const double dlogit = (probability - wanted) * weight;
      const double magnitude = (probability + wanted) * weight;
      for (int64_t d = 0; d < shape.size; ++d) {
        const int64_t in_h = m * shape.size + d;
        const int64_t in_w = v * shape.size + d;
        g.dh[in_h] += dlogit * w[in_w];
        g.dh_magnitude[in_h] += std::abs(magnitude * w[in_w]);
        g.dw[in_w] += dlogit * h[in_h];
        g.dw_magnitude[in_w] += std::abs(magnitude * h[in_h]);
      }
    }
  }
  return g;
}

}  // namespace wl::reference
