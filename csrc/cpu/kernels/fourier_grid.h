// Gridding: the points of a ray are spread over the cells of a strip of columns, or gathered from them, with a kernel of
// `width` x `width` cells. A cell holds a number of eight slices (packed) or one complex value (a slice by itself).
//
// Point r of a ray lies at (r column_step, r row_step) cells from frequency zero. Its kernel starts at the cell
// floor(position - width / 2) + 1; z in (0, 1] is how far that cell lies behind position - width / 2, and tap j of the
// kernel is a polynomial in z - 1/2. Tap width - 1 - j is its mirror image, so even and odd powers serve both.
//
// J. A. Fessler and B. P. Sutton, IEEE Trans. Signal Process. 51 (2003) 560, DOI 10.1109/TSP.2002.807005; the kernel:
// A. H. Barnett, J. Magland and L. af Klinteberg, SIAM J. Sci. Comput. 41 (2019) C479, DOI 10.1137/18M120885X.
#pragma once
#include "../fourier.h"
#include "number.h"

namespace tomolearn::TOMOLEARN_LEVEL {

constexpr int kStrip = 8;             // columns of a strip; the first one has frequency zero in its middle
constexpr int kHalo = 8;              // cells beyond the frequencies -grid_rows / 2 .. grid_rows / 2 of a column
constexpr int kMaxWidth = 8;
constexpr int kMaxDegree = 12;

TOMO_INLINE int column_length(const FourierScan& scan) { return scan.grid_rows + 2 * kHalo + 8; }
TOMO_INLINE int row_zero(const FourierScan& scan) { return scan.grid_rows / 2 + kHalo; }  // cell of row frequency zero
TOMO_INLINE int n_strips(const FourierScan& scan) { return scan.grid_columns / 2 / kStrip + 1; }

// The points of a ray whose kernels start in columns first .. last - 1, eight at a time or fewer.
template <class T>
struct Points {
  static constexpr int count = Square<T>::size;
  using Lanes = typename Square<T>::Row;
  typedef int Ints __attribute__((vector_size(count * sizeof(int))));
  Lanes column_z, row_z;  // z - 1/2
  int cell[count];        // relative to the first cell of the strip
};

struct Range {
  int begin, end;
};

TOMO_INLINE Range points_between(const FourierScan& scan, int ray, int first, int last) {
  const double step = scan.column_step[ray], top = scan.n_frequencies[ray];
  // first <= floor(r step - width / 2) + 1 < last; the end of one strip is the start of the next by the same formula, so
  // that no point is lost or counted twice
  const double begin = (first - 1 + 0.5 * scan.width) / step, end = (last - 1 + 0.5 * scan.width) / step;
  return {int(ceil(least(most(begin, 0.0), top))), int(ceil(least(most(end, 0.0), top)))};
}

template <class T>
TOMO_INLINE Points<T> locate(const FourierScan& scan, int ray, int r, int strip, int first, int last) {
  using P = Points<T>;
  using Lanes = typename P::Lanes;
  using Ints = typename P::Ints;
  Lanes count_up;
  TOMO_UNROLL for (int i = 0; i < P::count; i++) count_up[i] = T(i);
  const double column = r * scan.column_step[ray] - 0.5 * scan.width, row = r * scan.row_step[ray] - 0.5 * scan.width;
  const double column0 = floor(column), row0 = floor(row);
  const Lanes u = count_up * T(scan.column_step[ray]) + T(column - column0);
  const Lanes v = count_up * T(scan.row_step[ray]) + T(row - row0);
  Ints i = __builtin_convertvector(u, Ints) + 1;  // u >= 0: floor + 1
  Ints j = __builtin_convertvector(v, Ints);  // v may fall below 0, where this is not the floor
  j += __builtin_convertvector(v < __builtin_convertvector(j, Lanes), Ints) + 1;
  const Ints low = Ints{} + (first - int(column0)), high = Ints{} + (last - 1 - int(column0));
  i = i < low ? low : i;  // ties at the edge of a strip
  i = i > high ? high : i;
  P p;
  p.column_z = __builtin_convertvector(i, Lanes) - u - T(0.5);
  p.row_z = __builtin_convertvector(j, Lanes) - v - T(0.5);
  const Ints cell = (i + (int(column0) - strip)) * column_length(scan) + j + (int(row0) + row_zero(scan));
  memcpy(p.cell, &cell, sizeof cell);
  return p;
}

// The taps of a kernel, W and W of them, for all points at once.
template <class T, int W>
struct Taps {
  static constexpr int pairs = (W + 1) / 2;
  T coefficient[pairs][kMaxDegree + 1];
  int degree;

  explicit Taps(const FourierScan& scan) : degree(scan.degree) {
    for (int j = 0; j < pairs; j++)
      for (int d = 0; d <= degree; d++) coefficient[j][d] = T(scan.taps[j * (degree + 1) + d]);
  }

  // weights[j] of the lanes of z; an odd degree.
  template <class Lanes>
  TOMO_INLINE_MEMBER void evaluate(Lanes z, Lanes* weights) const {
    const Lanes square = z * z;
    TOMO_UNROLL for (int j = 0; j < pairs; j++) {
      const T* c = coefficient[j];
      Lanes even = Lanes{} + c[degree - 1], odd = Lanes{} + c[degree];
      for (int d = degree - 3; d >= 0; d -= 2) even = even * square + c[d], odd = odd * square + c[d + 1];
      weights[j] = even + z * odd;
      if (W - 1 - j != j) weights[W - 1 - j] = even - z * odd;
    }
  }
};

template <class T, int W>
struct PointWeights {
  alignas(64) T column[W][Points<T>::count], row[W][Points<T>::count];
  TOMO_INLINE_MEMBER void set(const Taps<T, W>& taps, const Points<T>& p) {
    typename Points<T>::Lanes c[W], r[W];
    taps.evaluate(p.column_z, c);
    taps.evaluate(p.row_z, r);
    memcpy(column, c, sizeof c);
    memcpy(row, r, sizeof r);
  }
};

// ------------------------------------------------------------------------------------------------------ packed slices

template <class T, int W>
TOMO_INLINE void spread_points(const FourierScan& scan, const Taps<T, W>& taps, int ray, int strip, int first, int last,
                               const Number<T>* values, int64_t ahead, Number<T>* cells) {
  const Range range = points_between(scan, ray, first, last);
  const int length = column_length(scan);
  PointWeights<T, W> w;
  for (int r = range.begin; r < range.end; r += Points<T>::count) {
    const Points<T> p = locate<T>(scan, ray, r, strip, first, last);
    w.set(taps, p);
    const int n = least(Points<T>::count, range.end - r);
    for (int k = 0; k < n; k++) {
      Number<T>* cell = cells + p.cell[k];
      const Number<T> value = values[r + k];
      __builtin_prefetch(values + ahead + r + k);  // a few rays on, about the same frequencies: hides the page walk
      for (int v = 0; v < Number<T>::parts; v++) TOMO_UNROLL for (int j = 0; j < W; j++) {
        const Part<T> weighted = value.part[v] * w.column[j][k];
        Number<T>* c = cell + int64_t(j) * length;
        TOMO_UNROLL for (int i = 0; i < W; i++) c[i].part[v] += weighted * w.row[i][k];
      }
    }
  }
}

template <class T, int W>
TOMO_INLINE void gather_points(const FourierScan& scan, const Taps<T, W>& taps, int ray, int strip, int first, int last,
                               Number<T>* values, const Number<T>* cells) {
  const Range range = points_between(scan, ray, first, last);
  const int length = column_length(scan);
  PointWeights<T, W> w;
  for (int r = range.begin; r < range.end; r += Points<T>::count) {
    const Points<T> p = locate<T>(scan, ray, r, strip, first, last);
    w.set(taps, p);
    const int n = least(Points<T>::count, range.end - r);
    for (int k = 0; k < n; k++) {
      const Number<T>* cell = cells + p.cell[k];
      for (int v = 0; v < Number<T>::parts; v++) {
        Part<T> sum = {};
        TOMO_UNROLL for (int j = 0; j < W; j++) {
          const Number<T>* c = cell + int64_t(j) * length;
          Part<T> column = c[0].part[v] * w.row[0][k];
          TOMO_UNROLL for (int i = 1; i < W; i++) column += c[i].part[v] * w.row[i][k];
          sum += column * w.column[j][k];
        }
        stream(&values[r + k].part[v], sum);
      }
    }
  }
}

// ------------------------------------------------------------------------------------------------ a slice by itself

// Lanes are the rows of the kernel, each twice: for the real and for the imaginary part.
template <class T, int W>
struct RowTaps {
  static constexpr int rows = W <= 4 ? 4 : 8;  // those beyond W weigh nothing
  using V = typename Vector<T, 2 * rows>::type;
  typedef T Unaligned __attribute__((vector_size(sizeof(V)), aligned(sizeof(T)), may_alias));
  static constexpr int parts = Vector<T, 2 * rows>::count, length = length_of<V>;
  V coefficient[kMaxDegree + 1][parts];
  int degree;

  explicit RowTaps(const FourierScan& scan) : degree(scan.degree) {
    for (int d = 0; d <= degree; d++)
      for (int i = 0; i < 2 * rows; i++) {
        const int j = i / 2, mirror = W - 1 - j;
        T c = 0;
        if (j < W) c = T(scan.taps[least(j, mirror) * (degree + 1) + d]);
        coefficient[d][i / length][i % length] = mirror < j && d % 2 ? -c : c;
      }
  }

  TOMO_INLINE_MEMBER V evaluate(T z, int part) const {
    V sum = coefficient[degree][part];
    for (int d = degree - 1; d >= 0; d--) sum = sum * z + coefficient[d][part];
    return sum;
  }
};

template <class T, int W>
struct SingleKernel {
  Taps<T, W> columns;
  RowTaps<T, W> rows;
  explicit SingleKernel(const FourierScan& scan) : columns(scan), rows(scan) {}
};

// visit(r, cell, column weights with a stride, z of the row)
template <class T, int W, class Visit>
TOMO_INLINE void each_point(const FourierScan& scan, const Taps<T, W>& taps, int ray, int strip, int first, int last,
                            const Visit& visit) {
  const Range range = points_between(scan, ray, first, last);
  constexpr int count = Points<T>::count;
  alignas(64) T column[W][count];
  alignas(64) T row_z[count];
  for (int r = range.begin; r < range.end; r += count) {
    const Points<T> p = locate<T>(scan, ray, r, strip, first, last);
    typename Points<T>::Lanes c[W];
    taps.evaluate(p.column_z, c);
    memcpy(column, c, sizeof c);
    memcpy(row_z, &p.row_z, sizeof row_z);
    const int n = least(count, range.end - r);
    for (int k = 0; k < n; k++) visit(r + k, p.cell[k], &column[0][k], row_z[k]);
  }
}

template <class T, int W>
TOMO_INLINE void spread_points(const FourierScan& scan, const SingleKernel<T, W>& kernel, int ray, int strip, int first,
                               int last, const Complex<T>* values, int64_t, Complex<T>* cells) {
  using R = RowTaps<T, W>;
  const int64_t length = 2 * column_length(scan);
  each_point(scan, kernel.columns, ray, strip, first, last, [&](int r, int cell, const T* column, T z) {
    T* const to = (T*)(cells + cell);
    const T value[2] = {values[r].re, values[r].im};
    for (int v = 0; v < R::parts; v++) {
      const typename R::V weighted = everywhere<typename R::V>(value) * kernel.rows.evaluate(z, v);
      TOMO_UNROLL for (int j = 0; j < W; j++) {
        auto* c = (typename R::Unaligned*)(to + j * length) + v;
        *c += weighted * column[j * Points<T>::count];
      }
    }
  });
}

template <class T, int W>
TOMO_INLINE void gather_points(const FourierScan& scan, const SingleKernel<T, W>& kernel, int ray, int strip, int first,
                               int last, Complex<T>* values, const Complex<T>* cells) {
  using R = RowTaps<T, W>;
  const int64_t length = 2 * column_length(scan);
  each_point(scan, kernel.columns, ray, strip, first, last, [&](int r, int cell, const T* column, T z) {
    const T* const from = (const T*)(cells + cell);
    Complex<T> sum = {0, 0};
    for (int v = 0; v < R::parts; v++) {
      typename R::V all = {};
      TOMO_UNROLL for (int j = 0; j < W; j++) {
        const auto* c = (const typename R::Unaligned*)(from + j * length) + v;
        all += *c * column[j * Points<T>::count];
      }
      all *= kernel.rows.evaluate(z, v);
      TOMO_UNROLL for (int i = 0; i < R::length; i += 2) sum.re += all[i], sum.im += all[i + 1];
    }
    values[r] = sum;
  });
}

}  // namespace tomolearn::TOMOLEARN_LEVEL
