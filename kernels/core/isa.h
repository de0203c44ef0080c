// Which instruction set the kernels in use are compiled for.
#pragma once

namespace wl {

/** In order: each has what those before it have. `amx` is AVX-512 with VNNI and tiles of bytes and bf16. */
enum class Isa { generic, avx2, avx512, amx };

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
// Kernels that know tiles are those of AVX-512 and ask isa() themselves.
#define WL_SELECT(name) (isa() >= Isa::avx512 ? avx512::name : isa() == Isa::avx2 ? avx2::name : generic::name)
#else
#define WL_SELECT(name) (generic::name)
#endif
