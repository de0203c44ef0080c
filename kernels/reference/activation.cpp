// Activation functions and their slopes in float64, straight from their definitions.
#include "reference/activation.h"

#include <cmath>

namespace wl::reference {
namespace {

double inner(double x) { return std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x); }
double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

}  // namespace

double gelu(double x, bool is_tanh) {
  return is_tanh ? 0.5 * x * (1 + std::tanh(inner(x))) : 0.5 * x * std::erfc(-x / std::sqrt(2.0));
}

double gelu_slope(double x, bool is_tanh) {
  if (!is_tanh) return 0.5 * std::erfc(-x / std::sqrt(2.0)) + x * std::exp(-x * x / 2) / std::sqrt(2 * M_PI);
  const double t = std::tanh(inner(x)), sech = 1 / std::cosh(inner(x));
  return 0.5 * (1 + t) + 0.5 * x * sech * sech * std::sqrt(2 / M_PI) * (1 + 3 * 0.044715 * x * x);
}

double silu(double x) { return x * sigmoid(x); }

double silu_slope(double x) { return sigmoid(x) + x * sigmoid(x) * sigmoid(-x); }

double relu(double x) { return x > 0 ? x : 0; }

}  // namespace wl::reference
