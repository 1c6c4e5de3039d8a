// The kernels of sliding_median of one SIMD level, as a table of functions: what median.cpp calls.
#pragma once
#include "../common/median.h"

namespace tomolearn {

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
