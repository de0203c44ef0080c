// The distribution that a sampler draws from, in float64: everything sorted, every cut made on the sorted list.
#pragma once

#include <cstdint>
#include <vector>

namespace wl::reference {

struct SamplingRule {
  double temperature;
  int64_t top_k;
  double top_p, min_p;
};

double log_sum_exp(const std::vector<double>& logits);

// Probabilities by id after temperature, then top-k, then top-p of what is left, then min-p relative to the first.
std::vector<double> sampling_distribution(const std::vector<double>& logits, const SamplingRule& rule);

}  // namespace wl::reference
