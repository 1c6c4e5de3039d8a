// Between projections and the frequencies of their rays: pad, transform, filter and shift; and the transpose.
//
// Two lines share a transform, as real and imaginary part. The lanes are slices; of a slice by itself they are eight pairs
// of rays. Rays that were turned by half a circle hold complex conjugates.
#pragma once
#include "../fourier.h"
#include "fourier_fft.h"

namespace tomolearn::TOMOLEARN_LEVEL {

// Which lines (rays, image rows) a job has: two, of many slices, or as many as a number has values, of one slice.
template <class T, bool SINGLE>
struct Job {
  static constexpr int lines = SINGLE ? Number<T>::values : 2;
  static TOMO_INLINE_MEMBER int line(int64_t job, int value) {
    return int(SINGLE ? job * lines + value : job * lines + value % 2);
  }
  static TOMO_INLINE_MEMBER int slice(int value) { return SINGLE ? 0 : value / 2; }
  static TOMO_INLINE_MEMBER int64_t count(int n_lines) { return (n_lines + lines - 1) / lines; }
};

// Where the values of a number lie in (slices, n_lines, length); null where there is no such line or slice. `order` says
// which line of the array is meant (null: the same).
template <class T, bool SINGLE, class P>
TOMO_INLINE void locate_lines(P* base, int64_t job, int n_slices, int n_lines, int length, const int* order, P** lines) {
  using J = Job<T, SINGLE>;
  for (int v = 0; v < Number<T>::values; v++) {
    const int line = J::line(job, v), slice = J::slice(v);
    const bool there = line < n_lines && slice < n_slices;
    lines[v] = there ? base + (int64_t(slice) * n_lines + (order ? order[line] : line)) * length : nullptr;
  }
}

// What stands for one frequency.
template <class T, bool SINGLE>
using Cell = Either<SINGLE, Complex<T>, Number<T>>;

// exp(i phase r) response(r) gain of both rays of each lane, for kBlock frequencies at a time. OWN: each lane has its own.
constexpr int kBlock = 32;

template <class T, bool SINGLE, bool OWN>
class RayFactors {
 public:
  static constexpr int lanes = OWN ? Number<T>::lanes : 1;

  RayFactors(const FourierScan& scan, const T* response) : scan_(scan), response_(response) {}

  void start(int64_t job, int n_slices) {
    for (int h = 0; h < 2; h++)
      for (int l = 0; l < lanes; l++) {
        const int ray = least(Job<T, SINGLE>::line(job, 2 * l + h), scan_.n_angles - 1);
        const int slice = least(Job<T, SINGLE>::slice(2 * l), n_slices - 1), angle = scan_.angle[ray];
        const double phase = 2 * M_PI / scan_.n_fft * scan_.turned[ray] *
                             (scan_.offset[ray] + scan_.center[slice * scan_.center_stride + angle]);
        double c = 1, s = 0;
        const double c1 = cos(phase), s1 = sin(phase);
        for (int i = 0; i < kBlock; i++) {
          set(low_[h][i], l, T(c), T(s));
          rotate(c, s, c1, s1);
        }
        step_[h][l][0] = c, step_[h][l][1] = s;
        high_[h][l][0] = 0.5 * scan_.gain[ray], high_[h][l][1] = 0;
        const T turned = T(scan_.turned[ray]);
        if (OWN) {
          set_value(turned_[h], 2 * l, T(1)), set_value(turned_[h], 2 * l + 1, turned);
        } else {
          for (int v = 0; v < Number<T>::values; v++) set_value(turned_[h], v, v % 2 ? turned : T(1));
        }
      }
  }

  // The frequencies first .. first + kBlock - 1; blocks come in order.
  void advance(int first) {
    for (int h = 0; h < 2; h++) {
      Low high;
      for (int l = 0; l < lanes; l++) {
        set(high, l, T(high_[h][l][0]), T(high_[h][l][1]));
        rotate(high_[h][l][0], high_[h][l][1], step_[h][l][0], step_[h][l][1]);
      }
      for (int i = 0; i < kBlock; i++) {
        const T w = response_[first + i];
        if constexpr (OWN) {
          TOMO_UNROLL for (int v = 0; v < Number<T>::parts; v++) {
            const Part<T> a = low_[h][i].cosine.part[v], b = low_[h][i].sine.part[v];
            const Part<T> c = high.cosine.part[v], d = high.sine.part[v];
            // sines hold {-s, s}: the sign of a product of two of them is that of s s in either place
            factor_[h][i].cosine.part[v] = (a * c - b * d) * w;
            factor_[h][i].sine.part[v] = (a * d + b * c) * w;
          }
        } else {
          const T a = low_[h][i].cosine[0], b = low_[h][i].sine[1], c = high.cosine[0], d = high.sine[1];
          const T cosine = (a * c - b * d) * w, sine = (a * d + b * c) * w;
          factor_[h][i].cosine[0] = factor_[h][i].cosine[1] = cosine;
          factor_[h][i].sine[0] = -sine, factor_[h][i].sine[1] = sine;
        }
      }
    }
  }

  // Frequency i of the block, of the first (h = 0) or second ray of the lanes.
  TOMO_INLINE_MEMBER Part<T> apply(int h, int i, int part, Part<T> v) const {
    v = v * turned_[h].part[part];
    return v * cosine(h, i, part) + swapped(v) * sine(h, i, part);
  }
  TOMO_INLINE_MEMBER Part<T> transpose(int h, int i, int part, Part<T> v) const {
    return (v * cosine(h, i, part) - swapped(v) * sine(h, i, part)) * turned_[h].part[part];
  }

 private:
  struct Lanes {
    Number<T> cosine, sine;  // {c, c, ...}, {-s, s, ...}
  };
  using Low = Either<OWN, Lanes, Factor<T>>;

  static void rotate(double& c, double& s, double c1, double s1) {
    const double t = c * c1 - s * s1;
    s = c * s1 + s * c1;
    c = t;
  }
  static void set_value(Number<T>& number, int v, T value) { ((T*)&number)[v] = value; }
  static void set(Low& low, int lane, T c, T s) {
    if constexpr (OWN) {
      set_value(low.cosine, 2 * lane, c), set_value(low.cosine, 2 * lane + 1, c);
      set_value(low.sine, 2 * lane, -s), set_value(low.sine, 2 * lane + 1, s);
    } else {
      low.set(c, s);
    }
  }
  TOMO_INLINE_MEMBER Part<T> cosine(int h, int i, int part) const {
    if constexpr (OWN)
      return factor_[h][i].cosine.part[part];
    else
      return everywhere<Part<T>>(factor_[h][i].cosine);
  }
  TOMO_INLINE_MEMBER Part<T> sine(int h, int i, int part) const {
    if constexpr (OWN)
      return factor_[h][i].sine.part[part];
    else
      return everywhere<Part<T>>(factor_[h][i].sine);
  }

  const FourierScan& scan_;
  const T* response_;
  Low low_[2][kBlock], factor_[2][kBlock];
  double step_[2][lanes][2], high_[2][lanes][2];
  Number<T> turned_[2];
};

template <class T, bool SINGLE, bool OWN>
class RayStage {
 public:
  using C = Cell<T, SINGLE>;

  explicit RayStage(const FourierScan& scan)
      : scan_(scan), fft_(scan.n_fft), response_((scan.n_fft / 2 / kBlock + 1) * int64_t(kBlock)) {
    const int n = scan.n_fft / 2 + 1;
    for (int r = 0; r < (scan.n_fft / 2 / kBlock + 1) * kBlock; r++) response_[r] = T(r < n ? scan.response[r] : 0);
  }

  // Values from one ray to the next.
  static int64_t ray_length(const FourierScan& scan) {
    return SINGLE ? (scan.n_fft / 2 / kBlock + 1) * int64_t(kBlock) : scan.n_fft / 2 + 1;
  }

  void adjoint(const T* projections, int n_slices, C* frequencies) const {
    const int n = scan_.n_fft, n_detectors = scan_.n_detectors;
    parallel(Job<T, SINGLE>::count(scan_.n_angles), [&](Jobs& jobs) {
      Buffer<Number<T>> line(n_detectors), scratch(fft_.scratch()), z(n);
      RayFactors<T, SINGLE, OWN> factors(scan_, response_);
      for (int64_t job; jobs.take(&job);) {
        const T* lines[Number<T>::values];
        locate_lines<T, SINGLE>(projections, job, n_slices, scan_.n_angles, n_detectors, scan_.angle, lines);
        pack_rows<T>(lines, n_detectors, line);
        fft_.run(scratch, Padded<T>{line, n_detectors, n, scan_.edge}, Array<T>{z});
        factors.start(job, n_slices);
        for (int first = 0; first <= n / 2; first += kBlock) {
          factors.advance(first);
          split(z, factors, first, job, frequencies);
        }
      }
      finish_streams();
    });
  }

  void project(const C* frequencies, int n_slices, T* projections) const {
    const int n = scan_.n_fft, n_detectors = scan_.n_detectors;
    parallel(Job<T, SINGLE>::count(scan_.n_angles), [&](Jobs& jobs) {
      Buffer<Number<T>> line(n), scratch(fft_.scratch()), z(n + kBlock);
      RayFactors<T, SINGLE, OWN> factors(scan_, response_);
      for (int64_t job; jobs.take(&job);) {
        factors.start(job, n_slices);
        for (int first = 0; first <= n / 2; first += kBlock) {
          factors.advance(first);
          join(frequencies, factors, first, job, z);
        }
        fft_.run(scratch, Array<T>{z}, Cropped<T>{line, scan_.edge ? n : n_detectors, n});
        if (scan_.edge) sum_padding(line);
        T* lines[Number<T>::values];
        locate_lines<T, SINGLE>(projections, job, n_slices, scan_.n_angles, n_detectors, scan_.angle, lines);
        unpack_rows<T>(line, n_detectors, lines);
      }
    });
  }

 private:
  // z holds the spectra of both lines of each lane: x + i y.
  TOMO_INLINE_MEMBER void split(const Number<T>* z, const RayFactors<T, SINGLE, OWN>& factors, int first, int64_t job,
                                C* frequencies) const {
    constexpr int lanes = Number<T>::lanes;
    const int64_t length = ray_length(scan_);
    const int n = scan_.n_fft, last = least(first + kBlock, SINGLE ? first + kBlock : n / 2 + 1);
    Number<T> square[2][lanes];
    for (int r = first; r < last; r++) {
      const Number<T>&u = z[r], &v = z[r ? n - r : 0];
      TOMO_UNROLL for (int part = 0; part < Number<T>::parts; part++) {
        const Part<T> a = u.part[part], b = conjugate(v.part[part]);
        const Part<T> x = factors.apply(0, r - first, part, a + b), y = factors.apply(1, r - first, part, minus_i(a - b));
        if constexpr (SINGLE) {
          square[0][r % lanes].part[part] = x, square[1][r % lanes].part[part] = y;
        } else {
          C* to = frequencies + 2 * job * length + r;
          stream(&to->part[part], x);
          if (2 * job + 1 < scan_.n_angles) stream(&to[length].part[part], y);
        }
      }
      if constexpr (SINGLE)
        if (r % lanes == lanes - 1)
          for (int h = 0; h < 2; h++) {
            transpose_lanes(square[h]);
            for (int l = 0; l < lanes; l++) {
              const int ray = Job<T, SINGLE>::line(job, 2 * l + h);
              if (ray >= scan_.n_angles) break;
              auto* to = (Number<T>*)(frequencies + ray * length + r - (lanes - 1));
              TOMO_UNROLL for (int p = 0; p < Number<T>::parts; p++) stream(&to->part[p], square[h][l].part[p]);
            }
          }
    }
  }

  TOMO_INLINE_MEMBER void join(const C* frequencies, const RayFactors<T, SINGLE, OWN>& factors, int first, int64_t job,
                               Number<T>* z) const {
    constexpr int lanes = Number<T>::lanes;
    const int64_t length = ray_length(scan_);
    const int n = scan_.n_fft, last = least(first + kBlock, n / 2 + 1);
    Number<T> square[2][lanes];
    for (int r = first; r < last; r++) {
      if constexpr (SINGLE) {
        if (r % lanes == 0)
          for (int h = 0; h < 2; h++) {
            for (int l = 0; l < lanes; l++) {
              const int ray = Job<T, SINGLE>::line(job, 2 * l + h);
              if (ray < scan_.n_angles)
                memcpy(&square[h][l], frequencies + ray * length + r, sizeof(Number<T>));
              else
                memset(&square[h][l], 0, sizeof(Number<T>));
            }
            transpose_lanes(square[h]);
          }
      } else {
        const C* from = frequencies + 2 * job * length + r;
        square[0][r % lanes] = from[0];
        if (2 * job + 1 < scan_.n_angles)
          square[1][r % lanes] = from[length];
        else
          memset(&square[1][r % lanes], 0, sizeof(Number<T>));
      }
      TOMO_UNROLL for (int part = 0; part < Number<T>::parts; part++) {
        const Part<T> x = factors.transpose(0, r - first, part, square[0][r % lanes].part[part]),
                      y = factors.transpose(1, r - first, part, square[1][r % lanes].part[part]);
        const Part<T> a = add_plus_i(x, y), b = add_plus_i(conjugate(x), conjugate(y));
        if (r == 0 || 2 * r == n) {
          z[r].part[part] = a + b;
        } else {
          z[r].part[part] = a, z[n - r].part[part] = b;
        }
      }
    }
  }

  // Values beyond the ends were those at the ends.
  void sum_padding(Number<T>* line) const {
    const int n_detectors = scan_.n_detectors, middle = n_detectors + (scan_.n_fft - n_detectors) / 2;
    for (int d = n_detectors; d < scan_.n_fft; d++)
      TOMO_UNROLL for (int part = 0; part < Number<T>::parts; part++) line[d < middle ? n_detectors - 1 : 0].part[part] +=
          line[d].part[part];
  }

  const FourierScan& scan_;
  const Fft<T> fft_;
  Buffer<T> response_;
};

}  // namespace tomolearn::TOMOLEARN_LEVEL
