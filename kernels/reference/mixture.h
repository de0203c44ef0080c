// Mixture of experts in float64: routing, and the losses of the router.
#pragma once

#include <cstdint>
#include <vector>

namespace wl::reference {

struct RouterShape {
  int64_t tokens, experts, chosen;
};

struct Route {
  std::vector<double> probabilities;  // [tokens, experts]
  std::vector<int32_t> choices;       // [tokens, chosen], likeliest first
  std::vector<double> weights;        // [tokens, chosen]
};

Route route(const RouterShape& shape, const std::vector<double>& logits);

// sum(dweights * weights) + balance * E sum_e f_e P_e + z * mean(logsumexp^2), with the choices and f_e, slots per token, held as they are.
double router_loss(const RouterShape& shape, const std::vector<double>& logits, const std::vector<int32_t>& choices,
                   const std::vector<double>& dweights, double balance, double z);

}  // namespace wl::reference
