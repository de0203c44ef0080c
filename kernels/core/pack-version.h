// The version of what packing writes.
#pragma once

namespace wl {

/** Raised by whoever changes the bytes that linear_pack or quantized_pack write; kernels/pack-version.native.test.ts says when. */
inline constexpr int kPackVersion = 1;

}  // namespace wl
