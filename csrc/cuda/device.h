// The language of the kernels: CUDA's, or on the CPU the emulator's (tests/emulator). No other file here may ask which.
#pragma once
#if defined(__CUDACC__)
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#define TOMO_KERNEL(threads) __global__ void __launch_bounds__(threads)
#define TOMO_SHARED(T, name, extent) __shared__ T name extent
#define TOMO_NO_UNROLL _Pragma("unroll 1")
#define TOMO_LAUNCH(grid, block, bytes, stream, ...) __VA_ARGS__<<<grid, block, bytes, stream>>>
#else
#include "emulator.h"
#endif
