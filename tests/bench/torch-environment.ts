// The environment that PyTorch, and the libraries below it, are measured in.

/** What keeps them to the instruction set that we use. They find tiles (AMX) by themselves where these are. */
const caps: Readonly<Record<string, Record<string, string>>> = {
  amx: {},
  avx512: {},
  avx2: {
    ATEN_CPU_CAPABILITY: 'avx2',
    ONEDNN_MAX_CPU_ISA: 'AVX2',
    MKL_ENABLE_INSTRUCTIONS: 'AVX2',
    OPENBLAS_CORETYPE: 'Haswell',
  },
};

/** With this library preloaded, memory is kept and lies in huge pages: PyTorch's fastest setting. */
function allocator(library: string): Record<string, string> {
  const settings = 'background_thread:true,metadata_thp:auto,thp:always,dirty_decay_ms:-1,muzzy_decay_ms:-1';
  return { LD_PRELOAD: library, MALLOC_CONF: settings, THP_MEM_ALLOC_ENABLE: '1' };
}

/** Throws where it can't be kept to `isa`. `jemalloc` is the path of its library. */
export function torchEnvironment(isa: string, threads: number, jemalloc?: string): NodeJS.ProcessEnv {
  const cap = caps[isa];
  if (!cap) throw new Error(`PyTorch cannot be kept to ${isa}; compare with ${Object.keys(caps).join(' or ')}`);
  const count = String(threads);
  return {
    ...process.env,
    ...cap,
    OMP_NUM_THREADS: count,
    MKL_NUM_THREADS: count,
    OPENBLAS_NUM_THREADS: count,
    ...(jemalloc === undefined ? {} : allocator(jemalloc)),
  };
}
