// The gradient of a bias: sums of columns over the rows in the order of a token contraction.
#pragma once

#include <cstdint>

#include "core/context.h"
#include "cpu/spans.h"

namespace wl::WL_ISA {

/** out[j] = sum over the rows order[i] of dy[row * cols + j], by the spans of token_spans; added to out where `accumulate`. */
void add_columns(Context& context, const float* dy, int64_t cols, const Spans& spans, const int32_t* order, float* out, bool accumulate);

}  // namespace wl::WL_ISA
