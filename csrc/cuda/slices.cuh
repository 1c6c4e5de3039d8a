// Slices innermost: N neighbouring slices of one pixel or detector lie together, so that one index and one pair of weights
// serve N updates and a thread loads 16 bytes at a time.
#pragma once
#include <cstdint>

#include "../common/platform.h"
#include "device.h"

namespace tomolearn::cuda {

// Sums are float for half-precision storage, else of the stored type.
template <class S>
struct Sum {
  using type = S;
};
template <>
struct Sum<__half> {
  using type = float;
};

TOMO_HD float widen(float value) { return value; }
TOMO_HD double widen(double value) { return value; }
TOMO_HD float widen(__half value) { return __half2float(value); }

TOMO_HD void narrow(float value, float* to) { *to = value; }
TOMO_HD void narrow(double value, double* to) { *to = value; }
TOMO_HD void narrow(float value, __half* to) { *to = __float2half_rn(value); }

template <class S, int N>
struct alignas(N * sizeof(S) < 16 ? N * sizeof(S) : 16) Slices {
  S value[N];
};

// Slices that one thread works on where there are several.
template <class S>
constexpr int kTogether = sizeof(S) == 2 ? 8 : 4;

// sum[k] += weight * slice k
template <class S, int N, class A>
TOMO_HD void add_slices(A* sum, A weight, const Slices<S, N>& slices) {
  for (int k = 0; k < N; k++) sum[k] += weight * widen(slices.value[k]);
}

// Writes slice k to to[k * stride], as many as there are.
template <class S, class A>
TOMO_HD void store_slices(S* to, int64_t stride, int n_slices, int n_together, const A* sum) {
  for (int k = 0; k < n_together; k++)
    if (k < n_slices) narrow(sum[k], to + k * stride);
}

// From the natural (slices, lines, length) to groups of N slices with zero margins. A group's lines lie `line_stride`
// apart and the elements of a line `element_stride`: the same kernel transposes.
struct Packing {
  int64_t n_slices;
  int lines, length, line_margin, margin;
  int64_t line_stride, element_stride;
  int64_t group_size;  // (lines + 2 line_margin) (length + 2 margin)
};

constexpr int kPackThreads = 256;

template <class S, int N>
TOMO_KERNEL(kPackThreads) pack_slices(Packing p, const S* in, Slices<S, N>* out) {
  const int64_t size = p.group_size, width = p.length + 2 * int64_t(p.margin), slice = int64_t(p.lines) * p.length;
  const int64_t total = (p.n_slices + N - 1) / N * size, step = int64_t(gridDim.x) * blockDim.x;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < total; i += step) {
    const int64_t group = i / size, line = i % size / width, element = i % width;
    const int64_t y = line - p.line_margin, x = element - p.margin;
    Slices<S, N> packed{};
    if (y >= 0 && y < p.lines && x >= 0 && x < p.length)
      for (int k = 0; k < N; k++)
        if (group * N + k < p.n_slices) packed.value[k] = in[(group * N + k) * slice + y * p.length + x];
    out[group * size + line * p.line_stride + element * p.element_stride] = packed;
  }
}

}  // namespace tomolearn::cuda
