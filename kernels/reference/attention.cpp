// Float64 attention: scores, softmax and weighted sum written out per query row, with first-order error bounds for float32.
#include "attention.h"

#include <algorithm>
#include <cmath>

namespace wl::reference {
namespace {

constexpr double unit_roundoff = 0x1p-24;
constexpr double function_roundoffs = 4;  // exp, log, division: each a few roundings

struct Row {
  std::vector<double> p;  // softmax over the keys 0..i, 0 where a key is not seen
  double lse = 0;
  double error = 0;  // bound of the relative error of any entry of p
};

struct Slice {
  const std::vector<double>& data;
  int64_t width, offset;
  const double* row(int64_t t) const { return data.data() + t * width + offset; }
};

// Softmax of query row `t` (position i of its sequence that starts at row `first`).
Row softmax_row(const AttentionShape& shape, int64_t head, const double* q, const Slice& k, int64_t first, int64_t i, double scale) {
  Row row;
  row.p.resize(i + 1);
  double largest = -INFINITY, score_error = 0, largest_score = 0;
  for (int64_t j = 0; j <= i; j++) {
    if (!shape.sees(i, j)) continue;
    const double* key = k.row(first + j);
    double score = 0, magnitude = 0;
    for (int64_t d = 0; d < shape.head_size; d++) {
      score += q[d] * key[d];
      magnitude += std::abs(q[d] * key[d]);
    }
    row.p[j] = scale * score + (shape.slopes.empty() ? 0 : shape.slopes[head] * double(j - i));
    largest = std::max(largest, row.p[j]);
    largest_score = std::max(largest_score, std::abs(row.p[j]));
    score_error = std::max(score_error, std::abs(scale) * magnitude * double(shape.head_size + 1));
  }
  double sum = 0;
  for (int64_t j = 0; j <= i; j++) {
    if (shape.sees(i, j)) sum += row.p[j] = std::exp(row.p[j] - largest);
  }
  for (double& p : row.p) p /= sum;
  row.lse = largest + std::log(sum);
  // Twice the score's error (numerator and denominator), the subtraction of the maximum, and the sum over the keys.
  row.error = unit_roundoff * (2 * score_error + 4 * largest_score + double(i + 1) + 4 * function_roundoffs);
  return row;
}

}  // namespace

AttentionResult attention_forward(const AttentionShape& shape, const std::vector<double>& q, const std::vector<double>& k,
                                  const std::vector<double>& v, double scale) {
  const int64_t size = shape.head_size, group = shape.heads / shape.kv_heads;
  AttentionResult result;
  result.out.value.assign(shape.query_size(), 0);
  result.out.bound.assign(shape.query_size(), 0);
  result.lse.value.resize(shape.lse_size());
  result.lse.bound.resize(shape.lse_size());
  for (int64_t t = 0; t < shape.rows(); t++) {
    const int64_t i = t % shape.length, first = t - i;
    for (int64_t h = 0; h < shape.heads; h++) {
      const int64_t at = (t * shape.heads + h) * size, kv = (h / group) * size;
      const Slice keys{k, shape.kv_heads * size, kv}, values{v, shape.kv_heads * size, kv};
      const Row row = softmax_row(shape, h, q.data() + at, keys, first, i, scale);
      for (int64_t j = 0; j <= i; j++) {
        for (int64_t d = 0; d < size; d++) {
          const double term = row.p[j] * values.row(first + j)[d];
          result.out.value[at + d] += term;
          result.out.bound[at + d] += std::abs(term) * (row.error + unit_roundoff * double(i + 8));
        }
      }
      result.lse.value[t * shape.heads + h] = row.lse;
      result.lse.bound[t * shape.heads + h] = row.error + unit_roundoff * (std::abs(row.lse) + function_roundoffs);
    }
  }
  return result;
}

AttentionGradients attention_backward(const AttentionShape& shape, const std::vector<double>& dout, const std::vector<double>& q,
                                      const std::vector<double>& k, const std::vector<double>& v, double scale) {
  const int64_t size = shape.head_size, group = shape.heads / shape.kv_heads;
  AttentionGradients g;
  for (Bounded* b : {&g.dq, &g.dk, &g.dv}) {
    const int64_t n = b == &g.dq ? shape.query_size() : shape.key_size();
    b->value.assign(n, 0);
    b->bound.assign(n, 0);
  }
  const AttentionResult forward = attention_forward(shape, q, k, v, scale);
  for (int64_t t = 0; t < shape.rows(); t++) {
    const int64_t i = t % shape.length, first = t - i;
    for (int64_t h = 0; h < shape.heads; h++) {
      const int64_t at = (t * shape.heads + h) * size, kv = (h / group) * size;
      const Slice keys{k, shape.kv_heads * size, kv}, values{v, shape.kv_heads * size, kv};
      const Row row = softmax_row(shape, h, q.data() + at, keys, first, i, scale);
      // The kernel takes p from the forward pass's lse, whose own error adds to that of p.
      const double p_error = 2 * row.error + forward.lse.bound[t * shape.heads + h];
      double delta = 0, delta_bound = 0;
      for (int64_t d = 0; d < size; d++) {
        delta += dout[at + d] * forward.out.value[at + d];
        delta_bound += std::abs(dout[at + d]) * (forward.out.bound[at + d] +
                                                 unit_roundoff * double(size) * std::abs(forward.out.value[at + d]));
      }
      // A chain over keys (dq) has i + 1 terms, one over queries (dk, dv) up to length * group.
      const double key_chain = unit_roundoff * double(i + 3), query_chain = unit_roundoff * double(shape.length * group + 3);
      for (int64_t j = 0; j <= i; j++) {
        double dp = 0, dp_magnitude = 0;
        for (int64_t d = 0; d < size; d++) {
          dp += dout[at + d] * values.row(first + j)[d];
          dp_magnitude += std::abs(dout[at + d] * values.row(first + j)[d]);
        }
        const double ds = row.p[j] * (dp - delta);
        const double ds_bound = row.p[j] * (p_error * std::abs(dp - delta) + unit_roundoff * double(size) * dp_magnitude +
                                            delta_bound + 4 * unit_roundoff * (std::abs(dp) + std::abs(delta)));
        const int64_t key_at = (first + j) * shape.kv_heads * size + kv;
        for (int64_t d = 0; d < size; d++) {
          const double query = q[at + d], key = k[key_at + d], gradient = dout[at + d];
          g.dq.value[at + d] += scale * ds * key;
          g.dq.bound[at + d] += std::abs(scale * key) * (ds_bound + key_chain * std::abs(ds));
          g.dk.value[key_at + d] += scale * ds * query;
          g.dk.bound[key_at + d] += std::abs(scale * query) * (ds_bound + query_chain * std::abs(ds));
          g.dv.value[key_at + d] += row.p[j] * gradient;
          g.dv.bound[key_at + d] += std::abs(gradient) * row.p[j] * (p_error + query_chain);
        }
      }
    }
  }
  return g;
}

Bounded rope(const std::vector<double>& x, const std::vector<int32_t>& positions, const std::vector<double>& cos,
             const std::vector<double>& sin, int64_t half, bool inverse) {
  const int64_t rows = int64_t(positions.size()), width = rows == 0 ? 0 : int64_t(x.size()) / rows;
  Bounded y{std::vector<double>(x.size()), std::vector<double>(x.size())};
  for (int64_t t = 0; t < rows; t++) {
    for (int64_t head = 0; head < width; head += 2 * half) {
      for (int64_t i = 0; i < half; i++) {
        const int64_t first = t * width + head + i, second = first + half;
        const double c = cos[positions[t] * half + i], s = (inverse ? -1 : 1) * sin[positions[t] * half + i];
        y.value[first] = x[first] * c - x[second] * s;
        y.value[second] = x[second] * c + x[first] * s;
        y.bound[first] = 2 * unit_roundoff * (std::abs(x[first] * c) + std::abs(x[second] * s));
        y.bound[second] = 2 * unit_roundoff * (std::abs(x[second] * c) + std::abs(x[first] * s));
      }
    }
  }
  return y;
}

}  // namespace wl::reference
