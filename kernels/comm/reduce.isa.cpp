// Reductions over ranks: one pass, with the tree over the ranks unrolled, so that it is all in registers.
#include "comm/reduce.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

namespace wl::WL_ISA {
namespace {

using comm::Reduction;
using comm::Type;

// How an element lies in memory, and in what it is added.
template <class Number>
struct Plain {
  using Memory = Number;
  using Value = Number;
  static Value load(Memory from) { return from; }
  static Memory store(Value value) { return value; }
};

struct Half {
  using Memory = _Float16;
  using Value = float;
  static Value load(Memory from) { return static_cast<float>(from); }
  static Memory store(Value value) { return static_cast<_Float16>(value); }
};

struct BFloat {
  using Memory = uint16_t;
  using Value = float;
  static Value load(Memory from) { return __builtin_bit_cast(float, static_cast<uint32_t>(from) << 16); }
  static Memory store(Value value) {
    const uint32_t bits = __builtin_bit_cast(uint32_t, value);
    const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    const uint32_t quiet = (bits >> 16) | 0x40;
    return static_cast<uint16_t>(value == value ? rounded : quiet);
  }
};

struct Sum {
  template <class Value>
  static Value of(Value older, Value newer) {
    if constexpr (std::is_integral_v<Value>) {
      using Bits = std::make_unsigned_t<Value>;
      return static_cast<Value>(static_cast<Bits>(static_cast<Bits>(older) + static_cast<Bits>(newer)));
    } else {
      return older + newer;
    }
  }
};
struct Max {
  template <class Value>
  static Value of(Value older, Value newer) {
    return older > newer || older != older ? older : newer;
  }
};
struct Min {
  template <class Value>
  static Value of(Value older, Value newer) {
    return older < newer || older != older ? older : newer;
  }
};

/** The largest power of two below n: how many ranks the older subtree holds. */
constexpr int older_part(int n) {
  int part = 1;
  while (2 * part < n) part *= 2;
  return part;
}

template <class Form, class Op, int first, int ranks>
inline typename Form::Value tree(const typename Form::Memory* const* sources, int64_t i) {
  if constexpr (ranks == 1) {
    return Form::load(sources[first][i]);
  } else {
    constexpr int part = older_part(ranks);
    return Op::of(tree<Form, Op, first, part>(sources, i), tree<Form, Op, first + part, ranks - part>(sources, i));
  }
}

template <class Form, class Op, int ranks, class Out, class Store>
void loop(const typename Form::Memory* const* all, Out* to, int64_t count, Store store) {
  const typename Form::Memory* sources[ranks];
  std::copy_n(all, ranks, sources);
// An element of the result may lie where a source has the same element: no dependence between iterations.
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) to[i] = store(tree<Form, Op, 0, ranks>(sources, i));
}

template <class Form, class Op, class Out, class Store>
void up_to_eight(int ranks, const typename Form::Memory* const* sources, Out* to, int64_t count, Store store) {
  switch (ranks) {
    case 1: return loop<Form, Op, 1>(sources, to, count, store);
    case 2: return loop<Form, Op, 2>(sources, to, count, store);
    case 3: return loop<Form, Op, 3>(sources, to, count, store);
    case 4: return loop<Form, Op, 4>(sources, to, count, store);
    case 5: return loop<Form, Op, 5>(sources, to, count, store);
    case 6: return loop<Form, Op, 6>(sources, to, count, store);
    case 7: return loop<Form, Op, 7>(sources, to, count, store);
    default: return loop<Form, Op, 8>(sources, to, count, store);
  }
}

// More ranks than are unrolled: subtrees of eight and more, block by block.
constexpr int64_t kBlock = 256;

template <class Form, class Op>
void subtree(int ranks, const typename Form::Memory* const* sources, typename Form::Value* to, int64_t count) {
  using Value = typename Form::Value;
  if (ranks <= 8) return up_to_eight<Form, Op>(ranks, sources, to, count, [](Value value) { return value; });
  const int part = older_part(ranks);
  Value newer[kBlock];
  subtree<Form, Op>(part, sources, to, count);
  subtree<Form, Op>(ranks - part, sources + part, newer, count);
  for (int64_t i = 0; i < count; ++i) to[i] = Op::of(to[i], newer[i]);
}

template <class Form, class Op>
void reduce_as(int ranks, const void* const* sources, void* to, int64_t count) {
  using Memory = typename Form::Memory;
  const auto* from = reinterpret_cast<const Memory* const*>(sources);
  auto* out = static_cast<Memory*>(to);
  if (ranks <= 8) return up_to_eight<Form, Op>(ranks, from, out, count, [](typename Form::Value value) { return Form::store(value); });
  const Memory* block[WL_COMM_MAX_RANKS];
  typename Form::Value sums[kBlock];
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t size = std::min(kBlock, count - begin);
    for (int rank = 0; rank < ranks; ++rank) block[rank] = from[rank] + begin;
    subtree<Form, Op>(ranks, block, sums, size);
    for (int64_t i = 0; i < size; ++i) out[begin + i] = Form::store(sums[i]);
  }
}

template <class Form>
void reduce_form(Reduction reduction, int ranks, const void* const* sources, void* to, int64_t count) {
  switch (reduction) {
    case Reduction::sum: return reduce_as<Form, Sum>(ranks, sources, to, count);
    case Reduction::max: return reduce_as<Form, Max>(ranks, sources, to, count);
    case Reduction::min: return reduce_as<Form, Min>(ranks, sources, to, count);
  }
}

}  // namespace

void reduce_ranks(Type type, Reduction reduction, int ranks, const void* const* sources, void* to, int64_t count) {
  switch (type) {
    case Type::f32: return reduce_form<Plain<float>>(reduction, ranks, sources, to, count);
    case Type::f64: return reduce_form<Plain<double>>(reduction, ranks, sources, to, count);
    case Type::f16: return reduce_form<Half>(reduction, ranks, sources, to, count);
    case Type::bf16: return reduce_form<BFloat>(reduction, ranks, sources, to, count);
    case Type::i32: return reduce_form<Plain<int32_t>>(reduction, ranks, sources, to, count);
    case Type::i64: return reduce_form<Plain<int64_t>>(reduction, ranks, sources, to, count);
    case Type::u8: return reduce_form<Plain<uint8_t>>(reduction, ranks, sources, to, count);
  }
}

}  // namespace wl::WL_ISA
