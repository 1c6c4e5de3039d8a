// sliding_median: a gather. A thread owns an element of the result and finds its value bit by bit, by counting the values of
// the window that lie below. No order is kept, so any window works, and the value is one of the window's own.
#pragma once
#include "../common/median.h"
#include "../common/mirror.h"
#include "launching.cuh"

namespace tomolearn::cuda {

constexpr int kMedianThreads = 128;

// Floating-point numbers by their bits, as unsigned numbers of the same order (-0 below 0, NaN beyond infinity).
template <class K>
TOMO_HD K order_of(K bits) {
  constexpr K sign = K(K(1) << (8 * sizeof(K) - 1));
  return K(bits & sign ? ~bits : bits | sign);
}
template <class K>
TOMO_HD K bits_of(K order) {
  constexpr K sign = K(K(1) << (8 * sizeof(K) - 1));
  return K(order & sign ? order ^ sign : ~order);
}

// How many values of the window around k lie below `bound`. A window much longer than the axis sees every value twice for
// each turn there and back; what is left of it is shorter than one.
template <class K>
TOMO_HD int count_below(const MedianTask& task, const K* line, int k, K bound) {
  const int first = k - task.size / 2;
  int below = 0;
  if (first >= 0 && first + task.size <= task.length) {
    const K* at = line + first * task.lanes;
    for (int i = 0; i < task.size; i++) below += order_of(at[i * task.lanes]) < bound;
    return below;
  }
  const int turns = task.size / (2 * task.length), end = first + task.size % (2 * task.length);
  TOMO_NO_UNROLL for (int i = 0; turns && i < task.length; i++) below += order_of(line[i * task.lanes]) < bound;
  below *= 2 * turns;
  TOMO_NO_UNROLL for (int i = first; i < end; i++) below += order_of(line[mirrored(i, task.length) * task.lanes]) < bound;
  return below;
}

// K: the unsigned type of the values' size. A block owns a row, its threads neighbouring lanes: their loads are coalesced,
// and all walk the same window.
template <class K>
TOMO_KERNEL(kMedianThreads) median_rows(MedianTask task, const K* in, K* out) {
  const int64_t rows = task.n_slices * task.length;
  const int step = int(gridDim.x % unsigned(task.length));
  int k = int(blockIdx.x % unsigned(task.length));  // the row's place along the axis, without a division in 64 bits
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    for (int64_t lane = threadIdx.x; lane < task.lanes; lane += kMedianThreads) {
      const K* line = in + (row - k) * task.lanes + lane;
      K found = 0;  // the largest bound with at most size / 2 values below it is the median
      for (K bit = K(K(1) << (8 * sizeof(K) - 1)); bit; bit = K(bit >> 1))
        if (count_below(task, line, k, K(found | bit)) <= task.size / 2) found = K(found | bit);
      out[row * task.lanes + lane] = bits_of(found);
    }
    k += k + step < task.length ? step : step - task.length;
  }
}

template <class K, class Device>
void launch_median(Device& device, const MedianTask& task, const K* in, K* out) {
  if (task.n_slices * task.length * task.lanes == 0) return;
  TOMO_LAUNCH(grid_for(device, task.n_slices * task.length), dim3(kMedianThreads), 0, device.stream(), median_rows<K>)
  (task, in, out);
  device.check_launch();
}

}  // namespace tomolearn::cuda
