// One slice: lanes are neighbouring pixels or rays. Instead of gathers, the few samples that they touch are loaded as one or
// two vectors and picked by a register permute.
//
// Positions are fixed point with 23 fraction bits: adding is exact, the whole part is one shift (the permute ignores higher
// bits), and the fraction becomes u = 1 + f without a conversion by putting it under the exponent of 1.0f. With
// e[i] = 2 p[i] - p[i+1] and d[i] = p[i+1] - p[i] tabulated, e + u d = (1 - f) p[i] + f p[i+1].
#pragma once
#include "simd.h"

#if TOMO_VECTOR_BYTES >= 32
#include <immintrin.h>

namespace tomolearn::TOMOLEARN_LEVEL {

constexpr double kFixed = 8388608.0;  // 2^23

#if TOMO_VECTOR_BYTES == 64
constexpr int kLanes = 16;
using Ints = __m512i;
using Floats = __m512;
TOMO_INLINE Ints load(const int* p) { return _mm512_loadu_si512(p); }
TOMO_INLINE Floats load(const float* p) { return _mm512_loadu_ps(p); }
TOMO_INLINE void store(float* p, Floats v) { _mm512_storeu_ps(p, v); }
TOMO_INLINE Ints all(int v) { return _mm512_set1_epi32(v); }
TOMO_INLINE Floats all(float v) { return _mm512_set1_ps(v); }
TOMO_INLINE Ints add(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
TOMO_INLINE Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
TOMO_INLINE Floats subtract_product(Floats c, Floats a, Floats b) { return _mm512_fnmadd_ps(a, b, c); }
TOMO_INLINE Floats positive(Floats a) { return _mm512_max_ps(a, _mm512_setzero_ps()); }
TOMO_INLINE Ints whole(Ints t) { return _mm512_srli_epi32(t, 23); }
TOMO_INLINE Floats one_plus_fraction(Ints t) {  // (t & mask) | bits of 1.0f, in one instruction
  return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(t, _mm512_set1_epi32(0x7fffff), _mm512_set1_epi32(0x3f800000), 0xEA));
}
TOMO_INLINE Floats pick_one(Ints i, const float* p) { return _mm512_permutexvar_ps(i, load(p)); }                    // i < 16
TOMO_INLINE Floats pick_two(Ints i, const float* p) { return _mm512_permutex2var_ps(load(p), i, load(p + 16)); }     // i < 32
TOMO_INLINE Floats pick_any(Ints i, const float* p) { return _mm512_i32gather_ps(i, p, 4); }
#else
constexpr int kLanes = 8;
using Ints = __m256i;
using Floats = __m256;
TOMO_INLINE Ints load(const int* p) { return _mm256_loadu_si256((const Ints*)p); }
TOMO_INLINE Floats load(const float* p) { return _mm256_loadu_ps(p); }
TOMO_INLINE void store(float* p, Floats v) { _mm256_storeu_ps(p, v); }
TOMO_INLINE Ints all(int v) { return _mm256_set1_epi32(v); }
TOMO_INLINE Floats all(float v) { return _mm256_set1_ps(v); }
TOMO_INLINE Ints add(Ints a, Ints b) { return _mm256_add_epi32(a, b); }
TOMO_INLINE Floats multiply_add(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
TOMO_INLINE Floats subtract_product(Floats c, Floats a, Floats b) { return _mm256_fnmadd_ps(a, b, c); }
TOMO_INLINE Floats positive(Floats a) { return _mm256_max_ps(a, _mm256_setzero_ps()); }
TOMO_INLINE Ints whole(Ints t) { return _mm256_srli_epi32(t, 23); }
TOMO_INLINE Floats one_plus_fraction(Ints t) {
  return _mm256_castsi256_ps(
      _mm256_or_si256(_mm256_and_si256(t, _mm256_set1_epi32(0x7fffff)), _mm256_set1_epi32(0x3f800000)));
}
TOMO_INLINE Floats pick_one(Ints i, const float* p) { return _mm256_permutevar8x32_ps(load(p), i); }  // i < 8
TOMO_INLINE Floats pick_two(Ints i, const float* p) {                                                  // i < 16
  return _mm256_blendv_ps(pick_one(i, p), pick_one(i, p + 8), _mm256_castsi256_ps(_mm256_slli_epi32(i, 28)));
}
TOMO_INLINE Floats pick_any(Ints i, const float* p) { return _mm256_i32gather_ps(p, i, 4); }
#endif

// e and d of a line of n samples with zeros around it; both point at sample 0 of a zeroed line.
TOMO_INLINE void tabulate_line(const float* s, int n, float* e, float* d) {
  for (int i = 0; i < n - 1; i++) {
    d[i] = s[i + 1] - s[i];
    e[i] = s[i] - d[i];
  }
  d[-1] = s[0], e[-1] = -s[0];
  d[n - 1] = -s[n - 1], e[n - 1] = 2 * s[n - 1];
}

}  // namespace tomolearn::TOMOLEARN_LEVEL
#endif
