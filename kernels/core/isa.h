// Which instruction set the kernels in use are compiled for.
#pragma once

namespace wl {

enum class Isa { generic, avx2, avx512 };

/**
 * Picks the best instruction set of this CPU, or the one that `wanted` names (null or empty: the best).
 * Returns null, or why `wanted` can't be had.
 */
const char* choose_isa(const char* wanted);

/** What choose_isa picked. */
Isa isa();
const char* isa_name();
/** Whether this CPU adds products of bytes in one instruction on 512 bits (VNNI). */
bool has_vnni();

}  // namespace wl

#if defined(__x86_64__)
#define WL_SELECT(name) (isa() == Isa::avx512 ? avx512::name : isa() == Isa::avx2 ? avx2::name : generic::name)
#else
#define WL_SELECT(name) (generic::name)
#endif
