// Mixture of experts in float64, written out token by token.
#include "reference/mixture.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace wl::reference {
namespace {

double log_sum(const double* row, int64_t n) {
  double sum = 0;
  for (int64_t e = 0; e < n; e++) sum += std::exp(row[e]);
  return std::log(sum);
}

}  // namespace

Route route(const RouterShape& shape, const std::vector<double>& logits) {
  Route route;
  for (int64_t t = 0; t < shape.tokens; t++) {
    const double* row = logits.data() + t * shape.experts;
    std::vector<int32_t> order(shape.experts);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return row[a] > row[b]; });
    double chosen = 0;
    for (int64_t e = 0; e < shape.experts; e++) route.probabilities.push_back(std::exp(row[e] - log_sum(row, shape.experts)));
    const double* p = route.probabilities.data() + t * shape.experts;
    for (int64_t k = 0; k < shape.chosen; k++) chosen += p[order[k]];
    for (int64_t k = 0; k < shape.chosen; k++) {
      route.choices.push_back(order[k]);
      route.weights.push_back(p[order[k]] / chosen);
    }
  }
  return route;
}

double router_loss(const RouterShape& shape, const std::vector<double>& logits, const std::vector<int32_t>& choices,
                   const std::vector<double>& dweights, double balance, double z) {
  std::vector<double> hits(shape.experts), mean(shape.experts);
  double loss = 0;
  for (int64_t t = 0; t < shape.tokens; t++) {
    const double* row = logits.data() + t * shape.experts;
    const double lse = log_sum(row, shape.experts);
    const auto p = [&](int64_t e) { return std::exp(row[e] - lse); };
    double chosen = 0;
    for (int64_t k = 0; k < shape.chosen; k++) chosen += p(choices[t * shape.chosen + k]);
    for (int64_t k = 0; k < shape.chosen; k++) {
      const int32_t expert = choices[t * shape.chosen + k];
      loss += dweights[t * shape.chosen + k] * p(expert) / chosen;
      hits[expert] += 1.0 / double(shape.tokens);
    }
    for (int64_t e = 0; e < shape.experts; e++) mean[e] += p(e) / double(shape.tokens);
    loss += z * lse * lse / double(shape.tokens);
  }
  for (int64_t e = 0; e < shape.experts; e++) loss += balance * double(shape.experts) * hits[e] * mean[e];
  return loss;
}

}  // namespace wl::reference
