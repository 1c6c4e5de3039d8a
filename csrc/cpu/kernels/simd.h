// Vector types and small helpers of one SIMD level. Everything in csrc/cpu/kernels lives in namespace
// tomolearn::TOMOLEARN_LEVEL and uses no standard templates (see runtime.h).
#pragma once
#include <cmath>
#include <cstring>

#include "../../common/geometry.h"
#include "../runtime.h"

#if defined(TOMOLEARN_LEVEL_AVX512)
#define TOMO_VECTOR_BYTES 64
#elif defined(TOMOLEARN_LEVEL_AVX2)
#define TOMO_VECTOR_BYTES 32
#else
#define TOMO_VECTOR_BYTES 16
#endif
#define TOMO_INLINE static inline __attribute__((always_inline))
#define TOMO_INLINE_MEMBER inline __attribute__((always_inline))
#define TOMO_UNROLL _Pragma("GCC unroll 16")

namespace tomolearn::TOMOLEARN_LEVEL {

template <class T>
constexpr TOMO_INLINE T least(T a, T b) {
  return a < b ? a : b;
}
template <class T>
constexpr TOMO_INLINE T most(T a, T b) {
  return a > b ? a : b;
}

// A vector of at most one register that divides Z values of T.
template <class T, int Z>
struct Vector {
  static constexpr int bytes = Z * int(sizeof(T)) < TOMO_VECTOR_BYTES ? Z * int(sizeof(T)) : TOMO_VECTOR_BYTES;
  static constexpr int count = Z * int(sizeof(T)) / bytes;
  typedef T type __attribute__((vector_size(bytes)));
};

template <class T>
class Buffer {
 public:
  explicit Buffer(int64_t n) : data_(static_cast<T*>(scratch_allocate(size_t(n) * sizeof(T)))), bytes_(size_t(n) * sizeof(T)) {}
  ~Buffer() { scratch_free(data_, bytes_); }
  Buffer(const Buffer&) = delete;
  operator T*() { return data_; }
  operator const T*() const { return data_; }

 private:
  T* data_;
  size_t bytes_;
};

template <class F>
TOMO_INLINE void parallel(int64_t n_jobs, const F& worker) {
  run_jobs(n_jobs, [](void* context, Jobs& jobs) { (*static_cast<const F*>(context))(jobs); },
           const_cast<void*>(static_cast<const void*>(&worker)));
}

// The angles in two classes: [0, n_steep) cross every row once, the rest every column once. `across` and `along` are the
// steps of t across the ray and along it: t = origin + u * across + r * along, r the axis that is walked.
struct SortedViews {
  Buffer<double> across, along, origin;
  Buffer<int> angle;
  int n_steep = 0;

  explicit SortedViews(const Geometry& g)
      : across(g.n_angles), along(g.n_angles), origin(g.n_angles), angle(g.n_angles) {
    int k = 0;
    for (int pass = 0; pass < 2; pass++)
      for (int a = 0; a < g.n_angles; a++) {
        const View v = make_view(g, a);
        const bool steep = crosses_rows(v);
        if (steep != (pass == 0)) continue;
        across[k] = steep ? v.per_column : v.per_row;
        along[k] = steep ? v.per_row : v.per_column;
        origin[k] = v.origin;
        angle[k++] = a;
        if (steep) n_steep++;
      }
  }

  // Splits the angles into groups of at most `size` of one class; group b is [begin[b], begin[b + 1]).
  int groups(int n_angles, int size, int* begin) const {
    int n = 0;
    for (int a = 0; a < n_steep; a += size) begin[n++] = a;
    for (int a = n_steep; a < n_angles; a += size) begin[n++] = a;
    begin[n] = n_angles;
    return n;
  }
};

}  // namespace tomolearn::TOMOLEARN_LEVEL
