// The matrix product behind the linear layers and the loss: C = A B with the contraction in spans, the same bits however it is cut.
#pragma once

#include <cstdint>

#include "core/context.h"
#include "core/reals.h"
#include "cpu/spans.h"

namespace wl::WL_ISA::gemm {

/**
 * The order in which token contractions take the rows of `rows / length` sequences: by span of the sequence, then by
 * sequence, then by position. Writes the row numbers to order[rows].
 */
Spans token_spans(int64_t rows, int64_t length, int64_t limit, int32_t* order);

/** Where a factor lies: `rows` of it have their terms side by side; `terms` have one term of all rows side by side. */
enum class Layout { rows, terms };

/** A run of terms of a factor that is made of several matrices: the first of them is term 0 of the factor (data, stride). */
struct Segment {
  int64_t begin;
  Reals data;
  int64_t stride;
};

/** A factor: element (row i, term k) is data[i * stride + k], or data[(order ? order[k] : k) * stride + i] for terms. */
struct Factor {
  Reals data;
  int64_t stride;
  Layout layout;
  const int32_t* order = nullptr;
  /** The terms lie in these runs instead, each up to the begin of the next; one more tells where the last run ends. */
  const Segment* segments = nullptr;
};

/** Terms that a product of bf16 takes together. */
inline constexpr int64_t chunk_terms = 32;

/**
 * C[i, j] = sum over k of left(i, k) * right(j, k); C is row-major without gaps. A span is one chain of FMAs.
 *
 * Where a factor is bf16, or f32 read as bf16, it is a product of bf16: the other one is read as bf16 too, and denormal numbers count as zero. A
 * span is taken in chunks of chunk_terms from its begin: in each, two chains of FMAs from +0, over its even and its odd terms (+0 where the span ends
 * before the chunk does), are added, and their sum to the sum of the chunks before. It is what the instruction on tiles of bf16 does.
 */
struct Product {
  int64_t rows, cols;
  Spans spans;
  Factor left;
  Factor right;
  /** The right factor packed before by pack_right over all its terms; `right` is not read then, and the product is one of f32. */
  const float* panels = nullptr;
  /** In bf16 it is rounded once, at the end, and has no part in the sums before. */
  RealsOut out;

  // What happens to each element, in this order. The arrays have the shape of C and may be C itself.
  /** What the chain of the first span goes on from; null: +0. */
  const float* start = nullptr;
  /** Added to the sum of the spans, one after the other. */
  const float* addend[7] = {};
  int addends = 0;
  /** One value for each column, added last. */
  const float* bias = nullptr;
};

/** Does the product on the workers of the context. Long contractions go in steps, so that what a tile reads stays in cache. */
void multiply(Context& context, const Product& product);

/** The same with memory of the caller's: workspace[workspace_floats(product, context.threads())], 64-byte aligned. */
void multiply(Context& context, const Product& product, float* workspace);
int64_t workspace_floats(const Product& product, int threads);

/** Floats that pack_right writes for a factor of `cols` rows (columns of C) and `terms`; the same for each instruction set. */
int64_t packed_floats(int64_t cols, int64_t terms);

/** Writes the panels of a right factor to packed[packed_floats(cols, terms)]. */
void pack_right(Context& context, const Factor& right, int64_t cols, int64_t terms, float* packed);

}  // namespace wl::WL_ISA::gemm
