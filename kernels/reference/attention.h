// Causal attention, its gradients and rotary positions in float64, one scalar loop each: what the kernels are compared with.
#pragma once

#include <cstdint>
#include <vector>

namespace wl::reference {

struct AttentionShape {
  int64_t sequences, length, heads, kv_heads, head_size;
  int64_t window = 0;               // keys that a query sees up to its own; 0: all
  std::vector<double> slopes = {};  // per head: times the distance of a key, added to its score; empty: none

  int64_t rows() const { return sequences * length; }
  int64_t query_size() const { return rows() * heads * head_size; }
  int64_t key_size() const { return rows() * kv_heads * head_size; }
  int64_t lse_size() const { return rows() * heads; }
  bool sees(int64_t query, int64_t key) const { return key <= query && (window == 0 || query - key < window); }
};

// A value with a bound of what a float32 computation of it may be off by (first order in the unit roundoff 2^-24):
// FMA chains of n terms lose at most n roundings of the sum of absolute products; exp and log lose a few units in the last place.
struct Bounded {
  std::vector<double> value, bound;
};

struct AttentionResult {
  Bounded out, lse;
};

struct AttentionGradients {
  Bounded dq, dk, dv;
};

// q [rows, heads * head_size]; k, v [rows, kv_heads * head_size]; out as q; lse [rows, heads].
AttentionResult attention_forward(const AttentionShape& shape, const std::vector<double>& q, const std::vector<double>& k,
                                  const std::vector<double>& v, double scale);

// Gradients of sum(dout * attention_forward(q, k, v).out).
AttentionGradients attention_backward(const AttentionShape& shape, const std::vector<double>& dout, const std::vector<double>& q,
                                      const std::vector<double>& k, const std::vector<double>& v, double scale);

// Turns every head of 2 * half elements by the angle of its row: cos, sin [positions, half].
Bounded rope(const std::vector<double>& x, const std::vector<int32_t>& positions, const std::vector<double>& cos,
             const std::vector<double>& sin, int64_t half, bool inverse);

}  // namespace wl::reference
