// The distribution that a sampler draws from, in float64: everything sorted, every cut made on the sorted list.
#include "reference/sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace wl::reference {

double log_sum_exp(const std::vector<double>& logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const double logit : logits) sum += std::exp(logit - largest);
  return largest + std::log(sum);
}

std::vector<double> sampling_distribution(const std::vector<double>& logits, const SamplingRule& rule) {
  std::vector<size_t> ranked(logits.size());
  std::iota(ranked.begin(), ranked.end(), size_t{0});
  std::stable_sort(ranked.begin(), ranked.end(), [&](size_t a, size_t b) { return logits[a] > logits[b]; });
  const double first = logits[ranked[0]];
  const auto weight = [&](size_t id) { return rule.temperature == 0 ? (id == ranked[0] ? 1.0 : 0.0) : std::exp((logits[id] - first) / rule.temperature); };
  const auto mass = [&] { return std::accumulate(ranked.begin(), ranked.end(), 0.0, [&](double sum, size_t id) { return sum + weight(id); }); };

  if (rule.top_k > 0 && rule.top_k < static_cast<int64_t>(ranked.size())) ranked.resize(static_cast<size_t>(rule.top_k));
  const double wanted = rule.top_p * mass();
  double sum = 0;
  size_t kept = 0;
  while (kept < ranked.size() && (kept == 0 || sum < wanted)) sum += weight(ranked[kept++]);
  ranked.resize(kept);
  while (weight(ranked.back()) < rule.min_p) ranked.pop_back();

  std::vector<double> distribution(logits.size());
  for (const size_t id : ranked) distribution[id] = weight(id) / mass();
  return distribution;
}

}  // namespace wl::reference
