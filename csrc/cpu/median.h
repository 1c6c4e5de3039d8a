// The kernels of sliding_median of one SIMD level, as a table of functions: what median.cpp calls.
#pragma once
#include <cstdint>

namespace tomolearn {

// (n_slices, length, lanes): the median of `size` (odd) neighbours along the middle axis.
struct MedianTask {
  int64_t n_slices;
  int length;
  int64_t lanes;
  int size;
};

struct Median {
  void (*single)(const MedianTask&, const float* in, float* out);
  void (*wide)(const MedianTask&, const double* in, double* out);
};

namespace baseline {
extern const Median median;
}
namespace avx2 {
extern const Median median;
}
namespace avx512 {
extern const Median median;
}

}  // namespace tomolearn
