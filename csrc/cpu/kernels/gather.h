// Slices innermost: the layout of the packed kernels, and the one inner loop of both directions.
#pragma once
#include "simd.h"

namespace tomolearn::TOMOLEARN_LEVEL {

// Natural (slices, length), slices `stride` apart  ->  [length][Z], missing slices zero.
// 16 positions at a time are one cache line of each slice.
template <class T, int Z>
TOMO_INLINE void pack(const T* source, int64_t stride, int n_slices, int length, T* packed) {
  for (int i0 = 0; i0 < length; i0 += 16) {
    const int n = least(16, length - i0);
    for (int z = 0; z < n_slices; z++) {
      const T* s = source + z * stride + i0;
      T* d = packed + int64_t(i0) * Z + z;
      if (n == 16)
        TOMO_UNROLL for (int i = 0; i < 16; i++) d[i * Z] = s[i];
      else
        for (int i = 0; i < n; i++) d[i * Z] = s[i];
    }
    for (int i = 0; i < n; i++)
      for (int z = n_slices; z < Z; z++) packed[int64_t(i0 + i) * Z + z] = 0;
  }
}

template <class T, int Z>
TOMO_INLINE void unpack(const T* packed, int n_slices, int length, T* target, int64_t stride) {
  for (int i0 = 0; i0 < length; i0 += 16) {
    const int n = least(16, length - i0);
    for (int z = 0; z < n_slices; z++) {
      T* d = target + z * stride + i0;
      const T* s = packed + int64_t(i0) * Z + z;
      if (n == 16)
        TOMO_UNROLL for (int i = 0; i < 16; i++) d[i] = s[i * Z];
      else
        for (int i = 0; i < n; i++) d[i] = s[i * Z];
    }
  }
}

constexpr int kGroup = 16;  // outputs that share a table row: pixels of a patch, rays of a group

// Outputs kept in registers: with Z slices each they fill eight accumulators, which hides the latency of two dependent
// multiply-adds with two issued in a cycle.
template <class T, int Z>
constexpr int outputs_at_once() {
  int k = 1;
  while (k < 8 && 2 * k * Vector<T, Z>::count <= 8) k *= 2;
  return k;
}

// out[k] += sum over j of w0[j][k] * source[offset[j][k]] + w1[j][k] * source[offset[j][k] + tap], Z slices each.
// Back-projection: k = pixel of a patch, j = angle. Projection: k = ray, j = image row. Index and weights are computed
// once for all slices. Per output and j: one index, two broadcasts, and the multiply-adds with their operands in memory.
template <class T, int Z, int K>
TOMO_INLINE void gather(T* __restrict out, int n_outputs, const T* __restrict source, int64_t tap, const int* offset,
                        const T* w0, const T* w1, int n) {
  using V = typename Vector<T, Z>::type;
  constexpr int NV = Vector<T, Z>::count;
  V sum[K][NV];
  const T* neighbour = source + tap;
  TOMO_UNROLL for (int k = 0; k < K; k++) TOMO_UNROLL for (int v = 0; v < NV; v++) sum[k][v] = V{};
  for (int j = 0; j < n; j++, offset += kGroup, w0 += kGroup, w1 += kGroup)
    TOMO_UNROLL for (int k = 0; k < K; k++) {
      const V *p = (const V*)(source + offset[k]), *q = (const V*)(neighbour + offset[k]);
      const T a = w0[k], b = w1[k];
      TOMO_UNROLL for (int v = 0; v < NV; v++) {
        sum[k][v] += a * p[v];
        sum[k][v] += b * q[v];
      }
    }
  TOMO_UNROLL for (int k = 0; k < K; k++) if (k < n_outputs) TOMO_UNROLL for (int v = 0; v < NV; v++)((V*)(out + k * Z))[v] +=
      sum[k][v];
}

// Vectors of the level's width for the tables, written out: the compiler's own vectors came out half as wide.
template <class T>
struct Lanes {
  static constexpr int count = TOMO_VECTOR_BYTES / int(sizeof(T));
  typedef T values __attribute__((vector_size(count * sizeof(T)), aligned(sizeof(T)), may_alias));
  typedef int indices __attribute__((vector_size(count * sizeof(int)), aligned(sizeof(int)), may_alias));
};

// One table row: for kGroup positions `t` >= 0 relative to the grid point at offset `base` (plus own[k], where outputs have
// grid points of their own), the left neighbour's offset and both weights.
// INTERPOLATE: the hat is `peak` high and one grid step wide, so the weights are peak (1 - f) and peak f.
template <class T, bool INTERPOLATE>
TOMO_INLINE void table_row(const T* position, T shift, T peak, T slope, int base, const int* own, int step, int* offset, T* w0,
                           T* w1) {
  using Values = typename Lanes<T>::values;
  using Indices = typename Lanes<T>::indices;
  const Values zero = {};
  TOMO_UNROLL for (int k = 0; k < kGroup; k += Lanes<T>::count) {
    Values t = *(const Values*)(position + k) + shift;
    t = t > zero ? t : zero;  // rounding may leave -1e-7
    const Indices i = __builtin_convertvector(t, Indices);
    const Values f = t - __builtin_convertvector(i, Values);
    Indices at = i * step + base;
    if (own) at += *(const Indices*)(own + k);
    *(Indices*)(offset + k) = at;
    if (INTERPOLATE) {
      const Values right = f * peak;
      *(Values*)(w0 + k) = peak - right;
      *(Values*)(w1 + k) = right;
    } else {
      const Values left = peak - slope * f, right = (peak - slope) + slope * f;
      *(Values*)(w0 + k) = left > zero ? left : zero;
      *(Values*)(w1 + k) = right > zero ? right : zero;
    }
  }
}

// The same for a hat over 2 * pairs grid points: `pairs` table rows.
template <class T>
TOMO_INLINE void wide_table_rows(const T* position, T shift, T peak, T slope, int pairs, int base, const int* own, int step,
                                 int* offset, T* w0, T* w1) {
  for (int q = 0; q < pairs; q++, offset += kGroup, w0 += kGroup, w1 += kGroup)
    for (int k = 0; k < kGroup; k++) {
      const T t = most(position[k] + shift, T(0));
      const int i = (int)t;
      const T distance = t - i + T(pairs - 1 - 2 * q);
      offset[k] = base + (own ? own[k] : 0) + (i + 2 * q - (pairs - 1)) * step;
      w0[k] = hat_weight(peak, slope, distance);
      w1[k] = hat_weight(peak, slope, 1 - distance);
    }
}

}  // namespace tomolearn::TOMOLEARN_LEVEL
