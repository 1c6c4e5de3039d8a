// The median of a window that slides along an axis: what CPU and CUDA are asked for.
#pragma once
#include <cstdint>

namespace tomolearn {

// (n_slices, length, lanes): the median of `size` (odd) neighbours along the middle axis, mirrored at its ends (mirror.h).
struct MedianTask {
  int64_t n_slices;
  int length;
  int64_t lanes;
  int size;
};

}  // namespace tomolearn
