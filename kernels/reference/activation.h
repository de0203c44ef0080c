// Activation functions and their slopes in float64, straight from their definitions.
#pragma once

namespace wl::reference {

double gelu(double x, bool is_tanh);
double gelu_slope(double x, bool is_tanh);
double silu(double x);
double silu_slope(double x);
double relu(double x);

}  // namespace wl::reference
