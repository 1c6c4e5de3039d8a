// Complex numbers of the Fourier kernels, eight (float) or four (double) at a time: one of each lane, real and imaginary
// parts interleaved, 64 bytes, one cache line. A lane is a slice; for a slice on its own it is an angle, a column or a pair
// of rows. Lanes never mix, so a number may be handled in parts of one register each.
#pragma once
#include "simd.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace tomolearn::TOMOLEARN_LEVEL {

template <bool WHICH, class A, class B>
struct Choice {
  using type = A;
};
template <class A, class B>
struct Choice<false, A, B> {
  using type = B;
};
template <bool WHICH, class A, class B>
using Either = typename Choice<WHICH, A, B>::type;

// One lane's worth; what is written as numbers is read as these, and the other way round.
template <class T>
struct __attribute__((may_alias)) Complex {
  T re, im;
};

template <class T>
struct Number {
  static constexpr int lanes = 32 / int(sizeof(T)), values = 2 * lanes, parts = Vector<T, values>::count;
  using Part = typename Vector<T, values>::type;
  Part part[parts];
};

template <class T>
using Part = typename Number<T>::Part;

template <class V>
constexpr int length_of = int(sizeof(V) / sizeof(V{}[0]));

// {im, re, im, re, ...}
template <class V>
TOMO_INLINE V swapped(V v) {
  if constexpr (length_of<V> == 16)
    return __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
  else if constexpr (length_of<V> == 8)
    return __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6);
  else if constexpr (length_of<V> == 4)
    return __builtin_shufflevector(v, v, 1, 0, 3, 2);
  else
    return __builtin_shufflevector(v, v, 1, 0);
}

// {even, odd, even, odd, ...}
template <class V, class T>
TOMO_INLINE V alternating(T even, T odd) {
  V v;
  TOMO_UNROLL for (int i = 0; i < length_of<V>; i += 2) v[i] = even, v[i + 1] = odd;
  return v;
}

template <class V>
TOMO_INLINE V conjugate(V v) {
  using T = decltype(V{}[0] + 0);
  return v * alternating<V>(T(1), T(-1));
}

// -i v is (im, -re): d - i v and d + i v are one multiply-add each.
template <class V>
TOMO_INLINE V minus_i(V v) {
  using T = decltype(V{}[0] + 0);
  return swapped(v) * alternating<V>(T(1), T(-1));
}
template <class V>
TOMO_INLINE V add_minus_i(V d, V v) {
  using T = decltype(V{}[0] + 0);
  return d + swapped(v) * alternating<V>(T(1), T(-1));
}
template <class V>
TOMO_INLINE V add_plus_i(V d, V v) {
  using T = decltype(V{}[0] + 0);
  return d + swapped(v) * alternating<V>(T(-1), T(1));
}

// A factor c + i s for all lanes, as the multiplication wants it: v {c, c} + swapped(v) {-s, s}.
template <class T>
struct Factor {
  T cosine[2], sine[2];
  void set(double c, double s) { cosine[0] = cosine[1] = T(c), sine[0] = T(-s), sine[1] = T(s); }
};

template <class V, class T>
TOMO_INLINE V everywhere(const T (&pair)[2]) {
  if constexpr (sizeof(T) == 4) {  // one 64-bit broadcast
    typedef int64_t Bits __attribute__((vector_size(sizeof(V))));
    int64_t bits;
    memcpy(&bits, pair, sizeof bits);
    return (V)(Bits{} + bits);
  } else {
    typedef T Two __attribute__((vector_size(16)));
    Two two;
    memcpy(&two, pair, sizeof two);
    if constexpr (length_of<V> == 8)
      return __builtin_shufflevector(two, two, 0, 1, 0, 1, 0, 1, 0, 1);
    else if constexpr (length_of<V> == 4)
      return __builtin_shufflevector(two, two, 0, 1, 0, 1);
    else
      return two;
  }
}

template <class V, class T>
TOMO_INLINE V multiply(V v, const Factor<T>& f) {
  return v * everywhere<V>(f.cosine) + swapped(v) * everywhere<V>(f.sine);
}

// Past the caches: what is written once and read much later would first be read and then push out what is needed.
template <class V>
TOMO_INLINE void stream(V* target, V v) {
#if TOMO_VECTOR_BYTES == 64
  _mm512_stream_si512((__m512i*)target, (__m512i)v);
#elif TOMO_VECTOR_BYTES == 32
  _mm256_stream_si256((__m256i*)target, (__m256i)v);
#elif defined(__SSE2__)
  _mm_stream_si128((__m128i*)target, (__m128i)v);
#else
  *target = v;
#endif
}

TOMO_INLINE void finish_streams() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

// ------------------------------------------------------------------------------- natural layout to numbers and back

// A square of T, one register wide: rows become columns.
template <class V>
TOMO_INLINE void transpose(V* r) {
  if constexpr (length_of<V> == 8) {
    V a[8], b[8];
    TOMO_UNROLL for (int i = 0; i < 8; i += 2) {
      a[i] = __builtin_shufflevector(r[i], r[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
      a[i + 1] = __builtin_shufflevector(r[i], r[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    TOMO_UNROLL for (int i = 0; i < 8; i += 4) TOMO_UNROLL for (int j = 0; j < 2; j++) {
      b[i + 2 * j] = __builtin_shufflevector(a[i + j], a[i + j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
      b[i + 2 * j + 1] = __builtin_shufflevector(a[i + j], a[i + j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
    TOMO_UNROLL for (int i = 0; i < 4; i++) {
      r[i] = __builtin_shufflevector(b[i], b[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
      r[i + 4] = __builtin_shufflevector(b[i], b[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
  } else if constexpr (length_of<V> == 4) {
    const V a = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5), b = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7),
            c = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5), d = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
    r[0] = __builtin_shufflevector(a, c, 0, 1, 4, 5), r[1] = __builtin_shufflevector(a, c, 2, 3, 6, 7);
    r[2] = __builtin_shufflevector(b, d, 0, 1, 4, 5), r[3] = __builtin_shufflevector(b, d, 2, 3, 6, 7);
  } else {
    const V a = __builtin_shufflevector(r[0], r[1], 0, 2), b = __builtin_shufflevector(r[0], r[1], 1, 3);
    r[0] = a, r[1] = b;
  }
}

// Squares of at most 32 bytes: eight registers hold one.
template <class T>
struct Square {
  static constexpr int size = least(TOMO_VECTOR_BYTES, 32) / int(sizeof(T));
  typedef T Row __attribute__((vector_size(size * sizeof(T))));
  typedef T Unaligned __attribute__((vector_size(size * sizeof(T)), aligned(sizeof(T)), may_alias));
};

// Value v of number i is rows[v][i]; null rows are zeros.
template <class T>
TOMO_INLINE void pack_rows(const T* const* rows, int n, Number<T>* numbers) {
  using Q = Square<T>;
  T* out = (T*)numbers;
  constexpr int values = Number<T>::values;
  for (int v0 = 0; v0 < values; v0 += Q::size) {
    bool whole = true;
    for (int v = v0; v < v0 + Q::size; v++) whole = whole && rows[v];
    int i = 0;
    if (whole)
      for (; i + Q::size <= n; i += Q::size) {
        typename Q::Row r[Q::size];
        TOMO_UNROLL for (int k = 0; k < Q::size; k++) r[k] = *(const typename Q::Unaligned*)(rows[v0 + k] + i);
        transpose(r);
        TOMO_UNROLL for (int k = 0; k < Q::size; k++) *(typename Q::Row*)(out + (i + k) * values + v0) = r[k];
      }
    for (; i < n; i++)
      for (int v = v0; v < v0 + Q::size; v++) out[i * values + v] = rows[v] ? rows[v][i] : T(0);
  }
}

template <class T>
TOMO_INLINE void unpack_rows(const Number<T>* numbers, int n, T* const* rows) {
  using Q = Square<T>;
  const T* in = (const T*)numbers;
  constexpr int values = Number<T>::values;
  for (int v0 = 0; v0 < values; v0 += Q::size) {
    bool whole = true;
    for (int v = v0; v < v0 + Q::size; v++) whole = whole && rows[v];
    int i = 0;
    if (whole)
      for (; i + Q::size <= n; i += Q::size) {
        typename Q::Row r[Q::size];
        TOMO_UNROLL for (int k = 0; k < Q::size; k++) r[k] = *(const typename Q::Row*)(in + (i + k) * values + v0);
        transpose(r);
        TOMO_UNROLL for (int k = 0; k < Q::size; k++) *(typename Q::Unaligned*)(rows[v0 + k] + i) = r[k];
      }
    for (; i < n; i++)
      for (int v = v0; v < v0 + Q::size; v++)
        if (rows[v]) rows[v][i] = in[i * values + v];
  }
}

// A square of complex values: lane l of number i goes to lane i of number l.
template <class T>
TOMO_INLINE void transpose_lanes(Number<T>* square) {
  constexpr int n = Number<T>::lanes;
  Complex<T>* c = (Complex<T>*)square;
  TOMO_UNROLL for (int i = 0; i < n; i++) TOMO_UNROLL for (int l = 0; l < i; l++) {
    const Complex<T> t = c[i * n + l];
    c[i * n + l] = c[l * n + i];
    c[l * n + i] = t;
  }
}

}  // namespace tomolearn::TOMOLEARN_LEVEL
