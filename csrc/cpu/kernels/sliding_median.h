// Median of a window that slides along one axis, for a vector of neighbouring lanes at a time: the window is kept sorted,
// and one pass over it drops the value that leaves and inserts the one that enters, without a branch.
#pragma once
#include "../../common/mirror.h"
#include "../median.h"
#include "simd.h"

namespace tomolearn::TOMOLEARN_LEVEL {

template <class T>
struct Lanes {
  static constexpr int count = TOMO_VECTOR_BYTES / int(sizeof(T));
  using type = typename Vector<T, count>::type;
};

// n < count: the lanes of a last, narrower group; the others are zero.
template <class T>
TOMO_INLINE typename Lanes<T>::type load_lanes(const T* from, int n) {
  typename Lanes<T>::type v{};
  if (n == Lanes<T>::count) std::memcpy(&v, from, sizeof v);
  else std::memcpy(&v, from, n * sizeof(T));
  return v;
}

template <class T>
TOMO_INLINE void store_lanes(T* to, typename Lanes<T>::type v, int n) {
  if (n == Lanes<T>::count) std::memcpy(to, &v, sizeof v);
  else std::memcpy(to, &v, n * sizeof(T));
}

// sorted[0 .. size): drops one value equal to `leaving` and inserts `entering`.
template <class T, class V = typename Lanes<T>::type>
TOMO_INLINE void replace(V* sorted, int size, V leaving, V entering) {
  V here = sorted[0];
  V below = here < leaving ? here : sorted[size > 1 ? 1 : 0];  // of the values that stay, the one before
  if (size == 1) {
    sorted[0] = entering;
    return;
  }
  sorted[0] = below < entering ? below : entering;
  here = sorted[1];
  for (int i = 1; i < size - 1; i++) {
    const V next = sorted[i + 1];
    const V stays = here < leaving ? here : next;
    const V lower = stays < entering ? stays : entering;
    sorted[i] = below > lower ? below : lower;
    below = stays;
    here = next;
  }
  sorted[size - 1] = below > entering ? below : entering;
}

// `in` and `out` point at the first lane of a group of `n` in one slice; rows are `lanes` apart.
template <class T>
void median_group(const MedianTask& task, const T* in, T* out, int n, T* scratch) {
  using V = typename Lanes<T>::type;
  const int size = task.size, half = size / 2;
  const int64_t lanes = task.lanes;
  V* sorted = reinterpret_cast<V*>(scratch);
  V* ring = sorted + size;  // the window in its order along the axis, from `oldest` on
  const auto value = [&](int k) { return load_lanes(in + mirrored(k, task.length) * lanes, n); };
  for (int filled = 0; filled < size; filled++) {  // insertion sort, lane by lane at once
    V moving = ring[filled] = value(filled - half);
    for (int i = 0; i < filled; i++) {
      const V held = sorted[i], lower = held < moving ? held : moving;
      moving = held < moving ? moving : held;
      sorted[i] = lower;
    }
    sorted[filled] = moving;
  }
  int oldest = 0;
  for (int k = 0;; k++) {
    store_lanes(out + k * lanes, sorted[half], n);
    if (k + 1 == task.length) return;
    const V leaving = ring[oldest], entering = ring[oldest] = value(k + 1 + half);
    oldest = oldest + 1 == size ? 0 : oldest + 1;
    replace<T>(sorted, size, leaving, entering);
  }
}

template <class T>
void sliding_median(const MedianTask& task, const T* in, T* out) {
  constexpr int width = Lanes<T>::count;
  const int64_t groups = (task.lanes + width - 1) / width;
  parallel(task.n_slices * groups, [&](Jobs& jobs) {
    Buffer<T> scratch(2 * int64_t(task.size) * width);
    for (int64_t job; jobs.take(&job);) {
      const int64_t first = job / groups * task.length * task.lanes + job % groups * width;
      const int64_t left = task.lanes - job % groups * width;
      median_group<T>(task, in + first, out + first, int(left < width ? left : width), scratch);
    }
  });
}

}  // namespace tomolearn::TOMOLEARN_LEVEL
