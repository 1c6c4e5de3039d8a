// Slices innermost: neighbouring slices of one pixel or detector lie together, so that one index and one pair of weights
// serve several updates. A thread, a lane of the pixel, loads 16 bytes of them; eight lanes load a line of 128 bytes, which
// the cache hands out at full speed wherever it lies.
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

// Slices that one thread works on where there are several: 16 bytes of them.
template <class S>
constexpr int kTogether = 16 / sizeof(S);

// Lanes of a pixel, where there are slices enough: eight make a line of the cache, four half of one. More sums of half
// precision or double would not fit into the registers.
template <class S>
constexpr int kLanes = sizeof(S) == 4 ? 8 : 4;

// One load of all N slices. The compiler does not trust the type with its alignment.
template <class S, int N>
TOMO_HD Slices<S, N> load_slices(const Slices<S, N>* from) {
  return *static_cast<const Slices<S, N>*>(__builtin_assume_aligned(from, alignof(Slices<S, N>)));
}

// sum[k] += weight * slice k
template <class S, int N, class A>
TOMO_HD void add_slices(A* sum, A weight, const Slices<S, N>* from) {
  const Slices<S, N> slices = load_slices(from);
  for (int k = 0; k < N; k++) sum[k] += weight * widen(slices.value[k]);
}

// Writes slice k to to[k * stride], as many as there are.
template <class S, class A>
TOMO_HD void store_slices(S* to, int64_t stride, int64_t n_slices, int n_together, const A* sum) {
  for (int k = 0; k < n_together; k++)
    if (k < n_slices) narrow(sum[k], to + k * stride);
}

// From the natural (slices, lines, length) to groups of LANES * N slices with zero margins. A group's lines lie
// `line_stride` apart and the elements of a line `element_stride`: the same kernel transposes.
struct Packing {
  int64_t n_slices;
  int lines, length, line_margin, margin;
  int64_t line_stride, element_stride;
  int64_t group_size;  // (lines + 2 line_margin) (length + 2 margin)
};

constexpr int kPackThreads = 256;

// A block packs line after line. out: (groups, lines, elements, LANES), or with the axes of an element exchanged.
template <class S, int N, int LANES>
TOMO_KERNEL(kPackThreads) pack_slices(Packing p, const S* in, Slices<S, N>* out) {
  constexpr int kGroup = N * LANES;
  const int64_t slice = int64_t(p.lines) * p.length, width = p.length + 2 * int64_t(p.margin);
  const unsigned n_lines = p.lines + 2 * p.line_margin;
  const unsigned jobs = unsigned((p.n_slices + kGroup - 1) / kGroup) * n_lines;
  for (unsigned job = blockIdx.x; job < jobs; job += gridDim.x) {
    const int64_t group = job / n_lines, line = job % n_lines, y = line - p.line_margin;
    Slices<S, N>* to = out + (group * p.group_size + line * p.line_stride) * LANES;
    for (int64_t i = threadIdx.x; i < width * LANES; i += kPackThreads) {
      const int64_t element = i / LANES, x = element - p.margin, first = group * kGroup + i % LANES * N;
      Slices<S, N> packed{};
      if (y >= 0 && y < p.lines && x >= 0 && x < p.length)
        for (int k = 0; k < N; k++)
          if (first + k < p.n_slices) packed.value[k] = in[(first + k) * slice + y * p.length + x];
      to[element * p.element_stride * LANES + i % LANES] = packed;
    }
  }
}

}  // namespace tomolearn::cuda
