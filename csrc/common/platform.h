// Lets one source serve the host compilers and nvcc.
#pragma once
#if defined(__CUDACC__)
#define TOMO_HD __host__ __device__ __forceinline__
#else
// always_inline and not merely inline: the kernels are compiled once for each SIMD level, and a shared out-of-line copy
// could be the AVX-512 one.
#define TOMO_HD static inline __attribute__((always_inline))
#endif
