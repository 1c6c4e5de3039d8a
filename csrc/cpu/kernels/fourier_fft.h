// Fourier transforms of whole numbers (number.h) by Stockham's self-sorting passes, each of them a transform of up to 64
// points that is done in two steps, within the first-level cache: a transform of 4,096 points goes twice through its data,
// not four times. The first pass reads and the last one writes through functions, so that padding, packing, conjugation,
// cropping and scaling cost no pass of their own.
//
// A. V. Oppenheim and R. W. Schafer, Discrete-Time Signal Processing, chapter 9; P. N. Swarztrauber, "FFT algorithms for
// vector computers", Parallel Computing 1 (1984) 45, DOI 10.1016/S0167-8191(84)90413-7.
#pragma once
#include "number.h"

namespace tomolearn::TOMOLEARN_LEVEL {

// Discrete Fourier transform of R values, in place.
template <int R, class V>
TOMO_INLINE void dft(V* a) {
  using T = decltype(V{}[0] + 0);
  if constexpr (R == 3) {
    const V s = a[1] + a[2], d = (a[1] - a[2]) * T(0.866025403784438647), m = a[0] - s * T(0.5);
    a[0] += s, a[1] = add_minus_i(m, d), a[2] = add_plus_i(m, d);
  } else if constexpr (R == 4) {
    const V s = a[0] + a[2], d = a[0] - a[2], t = a[1] + a[3], e = a[1] - a[3];
    a[0] = s + t, a[2] = s - t, a[1] = add_minus_i(d, e), a[3] = add_plus_i(d, e);
  } else if constexpr (R == 5) {
    constexpr T c1(0.309016994374947424), c2(-0.809016994374947424), s1(0.951056516295153572), s2(0.587785252292473129);
    const V p = a[1] + a[4], q = a[2] + a[3], d = a[1] - a[4], e = a[2] - a[3];
    const V m = a[0] + p * c1 + q * c2, n = a[0] + p * c2 + q * c1, u = d * s1 + e * s2, v = d * s2 - e * s1;
    a[0] += p + q;
    a[1] = add_minus_i(m, u), a[4] = add_plus_i(m, u), a[2] = add_minus_i(n, v), a[3] = add_plus_i(n, v);
  } else if constexpr (R == 8) {
    constexpr T h(0.707106781186547524);
    V e[4] = {a[0], a[2], a[4], a[6]}, o[4] = {a[1], a[3], a[5], a[7]};
    dft<4>(e), dft<4>(o);
    const V p = add_minus_i(o[1], o[1]), q = add_plus_i(o[3], o[3]);  // turned by 45 and 135 degrees, sqrt(2) too long
    a[0] = e[0] + o[0], a[4] = e[0] - o[0];
    a[1] = e[1] + p * h, a[5] = e[1] - p * h;
    a[2] = add_minus_i(e[2], o[2]), a[6] = add_plus_i(e[2], o[2]);
    a[3] = e[3] - q * h, a[7] = e[3] + q * h;
  }
}

// Reads and writes an array, as the inner passes do.
template <class T>
struct Array {
  Number<T>* data;
  TOMO_INLINE_MEMBER Part<T> operator()(int i, int part) const { return data[i].part[part]; }
  TOMO_INLINE_MEMBER void operator()(int i, int part, Part<T> v) const { data[i].part[part] = v; }
};

// n numbers, of which `kept` stand for the indices -zero .. kept - zero - 1 (modulo n), each times a scale; the others are
// zeros. `step` numbers lie from one to the next.
template <class T>
struct Centred {
  const Number<T>* data;
  int64_t step;
  const T* scale;
  int n, zero;
  unsigned kept;
  TOMO_INLINE_MEMBER Part<T> operator()(int i, int part) const {
    const unsigned q = (2 * i < n ? i : i - n) + zero;
    return q < kept ? data[q * step].part[part] * scale[q] : Part<T>{};
  }
};

// The same in the place where results go, backwards: the inverse transform is the forward one read backwards.
template <class T, bool STREAMED>
struct CentredReverse {
  Number<T>* data;
  int64_t step;
  const T* scale;
  int n, zero;
  unsigned kept;
  TOMO_INLINE_MEMBER void operator()(int i, int part, Part<T> v) const {
    const unsigned q = (2 * i <= n ? -i : n - i) + zero;
    if (q >= kept) return;
    if (STREAMED)
      stream(&data[q * step].part[part], v * scale[q]);
    else
      data[q * step].part[part] = v * scale[q];
  }
};

// All indices -n / 2 .. n / 2 - 1 around `data`.
template <class T>
struct Wrapped {
  Number<T>* data;
  int n;
  TOMO_INLINE_MEMBER Part<T> operator()(int i, int part) const { return data[2 * i < n ? i : i - n].part[part]; }
  TOMO_INLINE_MEMBER void operator()(int i, int part, Part<T> v) const { data[2 * i < n ? i : i - n].part[part] = v; }
};

// a + i b, a and b transforms of real rows given up to n / 2.
template <class T>
struct TwoRows {
  const Number<T>*a, *b;
  int n;
  int64_t ahead;  // to rows that are wanted soon
  TOMO_INLINE_MEMBER Part<T> operator()(int i, int part) const {
    if (2 * i <= n) {
      __builtin_prefetch(a + i + ahead), __builtin_prefetch(b + i + ahead);
      return add_plus_i(a[i].part[part], b[i].part[part]);
    }
    return conjugate(add_minus_i(a[n - i].part[part], b[n - i].part[part]));
  }
};

// A line, and behind it zeros or (edge) its last and its first value, half of the length each.
template <class T>
struct Padded {
  const Number<T>* data;
  int length, n;
  bool edge;
  TOMO_INLINE_MEMBER Part<T> operator()(int i, int part) const {
    if (i < length) return data[i].part[part];
    return edge ? data[i < length + (n - length) / 2 ? length - 1 : 0].part[part] : Part<T>{};
  }
};

// The first `kept` results, read backwards.
template <class T>
struct Cropped {
  Number<T>* data;
  int kept, n;
  TOMO_INLINE_MEMBER void operator()(int i, int part, Part<T> v) const {
    const int d = i ? n - i : 0;
    if (d < kept) data[d].part[part] = v;
  }
};

template <class T>
class Fft {
 public:
  // 5-smooth, a multiple of 4, and at least 16.
  explicit Fft(int n) : n_(n), factors_(n * int64_t(3) / 2 + 64 * kMaxPasses) {
    int radix[2 * kMaxPasses], count = 0, twos = 0, m = n;
    for (; m % 5 == 0; m /= 5) radix[count++] = 5;
    for (; m % 3 == 0; m /= 3) radix[count++] = 3;
    for (; m % 2 == 0; m /= 2) twos++;
    for (; twos >= 3 && twos != 4; twos -= 3) radix[count++] = 8;
    for (; twos > 0; twos -= 2) radix[count++] = 4;
    // The largest with the smallest: all passes of about one size.
    for (int i = 0; i < count; i++)
      for (int j = i + 1; j < count; j++)
        if (radix[j] > radix[i]) m = radix[i], radix[i] = radix[j], radix[j] = m;
    const bool paired = count > 2;  // at least two passes: the first one loads, the last one stores
    int64_t used = 0;
    for (int i = 0, j = count - 1; i <= j; i++) {
      const bool pair = paired && i < j;
      used = add_pass(radix[i], pair ? radix[j] : 1, used);
      if (pair) j--;
    }
  }

  int size() const { return n_; }
  int64_t scratch() const { return n_passes_ > 2 ? 2 * int64_t(n_) : n_; }

  // load(i, part) gives a part of number i; store(i, part, v) takes it. The whole input is read before any output comes.
  template <class Load, class Store>
  TOMO_INLINE_MEMBER void run(Number<T>* scratch, const Load& load, const Store& store) const {
    Number<T>*from = scratch, *to = scratch + n_;
    pass(passes_[0], load, Array<T>{from});
    for (int i = 1; i + 1 < n_passes_; i++) {
      pass(passes_[i], Array<T>{from}, Array<T>{to});
      Number<T>* swap = from;
      from = to, to = swap;
    }
    pass(passes_[n_passes_ - 1], Array<T>{from}, store);
  }

 private:
  static constexpr int kMaxPasses = 8;

  struct Pass {
    int first, second;           // radices; their product is the size of the pass
    int rest, stride;            // length left over / size; product of the sizes before
    const Factor<T>*inner, *outer;  // (second, first) between the steps; (rest, size) after them, none in the last pass
  };

  int64_t add_pass(int first, int second, int64_t used) {
    const int size = first * second;
    Pass& p = passes_[n_passes_];
    p.first = first, p.second = second;
    p.stride = n_passes_ ? passes_[n_passes_ - 1].stride * passes_[n_passes_ - 1].first * passes_[n_passes_ - 1].second : 1;
    p.rest = n_ / p.stride / size;
    Factor<T>* f = factors_ + used;
    p.inner = f;
    for (int i = 0; i < second; i++)
      for (int k = 0; k < first; k++) turn(f++, i * k, size);
    p.outer = p.rest > 1 ? f : nullptr;
    if (p.rest > 1)
      for (int q = 0; q < p.rest; q++)
        for (int k = 0; k < size; k++) turn(f++, int64_t(q) * k, int64_t(p.rest) * size);
    n_passes_++;
    return f - factors_;
  }

  static void turn(Factor<T>* f, int64_t numerator, int64_t denominator) {
    const double angle = -2 * M_PI * double(numerator % denominator) / double(denominator);
    f->set(cos(angle), sin(angle));
  }

  // y[q + stride (size p + k)] = W^(p k) sum over j of x[q + stride (p + rest j)] exp(-2 pi i j k / size)
  template <class Load, class Store>
  static TOMO_INLINE_MEMBER void pass(const Pass& p, const Load& load, const Store& store) {
    Number<T> between[64];
    for (int r = 0; r < p.rest; r++)
      for (int q = 0; q < p.stride; q++) {
        const int from = q + p.stride * r, to = q + p.stride * p.first * p.second * r;
        switch (p.first) {
          case 8: first_step<8>(p, load, from, between); break;
          case 5: first_step<5>(p, load, from, between); break;
          case 4: first_step<4>(p, load, from, between); break;
          default: first_step<3>(p, load, from, between);
        }
        const Factor<T>* outer = p.outer ? p.outer + r * p.first * p.second : nullptr;
        switch (p.second) {
          case 8: second_step<8>(p, between, outer, store, to); break;
          case 5: second_step<5>(p, between, outer, store, to); break;
          case 4: second_step<4>(p, between, outer, store, to); break;
          case 3: second_step<3>(p, between, outer, store, to); break;
          default: second_step<1>(p, between, outer, store, to);
        }
      }
  }

  // Functions of their own, or each use of a transform would hold them all.
  template <int R, class Load>
  static __attribute__((noinline)) void first_step(const Pass& p, const Load& load, int from, Number<T>* between) {
    const int n = p.second, step = p.stride * p.rest;
    for (int i = 0; i < n; i++) {
      for (int part = 0; part < Number<T>::parts; part++) {
        Part<T> a[R];
        TOMO_UNROLL for (int k = 0; k < R; k++) a[k] = load(from + step * (i + n * k), part);
        dft<R>(a);
        between[i].part[part] = a[0];
        if (i == 0)
          TOMO_UNROLL for (int k = 1; k < R; k++) between[k * n].part[part] = a[k];
        else
          TOMO_UNROLL for (int k = 1; k < R; k++) between[k * n + i].part[part] = multiply(a[k], p.inner[i * R + k]);
      }
    }
  }

  template <int R, class Store>
  static __attribute__((noinline)) void second_step(const Pass& p, const Number<T>* between, const Factor<T>* outer,
                                                    const Store& store, int to) {
    const int n = p.first;
    for (int k = 0; k < n; k++) {
      for (int part = 0; part < Number<T>::parts; part++) {  // innermost: lines that are streamed must not stay half written
        Part<T> a[R];
        TOMO_UNROLL for (int i = 0; i < R; i++) a[i] = between[k * R + i].part[part];
        dft<R>(a);
        if (outer)
          TOMO_UNROLL for (int j = 0; j < R; j++) store(to + p.stride * (k + n * j), part, multiply(a[j], outer[k + n * j]));
        else
          TOMO_UNROLL for (int j = 0; j < R; j++) store(to + p.stride * (k + n * j), part, a[j]);
      }
    }
  }

  const int n_;
  Buffer<Factor<T>> factors_;
  Pass passes_[kMaxPasses];
  int n_passes_ = 0;
};

}  // namespace tomolearn::TOMOLEARN_LEVEL
