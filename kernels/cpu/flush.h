// Denormal numbers taken as zero, as the instructions on tiles of bf16 do always.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace wl::WL_ISA {

/** While it lives, vector instructions of this thread read denormal numbers as zero and give zero in their place, both of their sign. */
class FlushDenormals {
 public:
#if defined(__x86_64__)
  FlushDenormals() : before_(_mm_getcsr()) {
    constexpr unsigned inputs = 1 << 6, results = 1 << 15;
    _mm_setcsr(before_ | inputs | results);
  }
  ~FlushDenormals() { _mm_setcsr(before_); }
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
  const unsigned before_;
#endif
};

}  // namespace wl::WL_ISA
