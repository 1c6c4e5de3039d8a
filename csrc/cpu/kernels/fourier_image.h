// Between the frequencies of rays and images, over a grid of frequencies that never stands in memory as a whole.
//
// Images are real, so half of the grid will do: columns of frequency 0 .. grid_columns / 2. It is handled in strips of
// kStrip columns that fit a cache: a strip is gridded and at once transformed along its columns, and only the rows of the
// image are kept. Rays are sorted by slope, so within a strip the points of one ray after the other walk up the columns.
// Kernels that stick out of a strip on the right belong to the next one, too: those columns are carried over. What falls on
// columns below 0 or above grid_columns / 2 belongs, conjugated, to the mirrored cell; both edges lie in the middle of a
// strip, which therefore holds either cell. Chunks of strips, and image rows, are independent: threads write nowhere
// together, and no sum depends on their number.
#pragma once
#include "fourier_grid.h"
#include "fourier_rays.h"

namespace tomolearn::TOMOLEARN_LEVEL {

template <class T, bool SINGLE>
class ImageStage {
 public:
  using C = Cell<T, SINGLE>;
  using Line = Number<T>;

  explicit ImageStage(const FourierScan& scan)
      : scan_(scan),
        rows_fft_(scan.grid_columns),
        columns_fft_(scan.grid_rows),
        row_scale_(scan.rows),
        column_scale_(scan.columns),
        length_(column_length(scan)),
        half_(scan.grid_columns / 2) {
    for (int i = 0; i < scan.rows; i++) row_scale_[i] = T(scan.row_scale[i]);
    for (int i = 0; i < scan.columns; i++) column_scale_[i] = T(scan.column_scale[i]);
  }

  // Between the two transforms: (rows, half_width), each row from column -kStrip / 2 on.
  static int64_t half_width(const FourierScan& scan) { return int64_t(n_strips(scan)) * kStrip; }

  // Frequencies of the rays to the half-transformed image.
  void adjoint_columns(const C* frequencies, C* half_image) const {
    const int strips = n_strips(scan_), overhang = scan_.width - 1;
    const int64_t carried = int64_t(overhang) * length_, whole = int64_t(kStrip) * length_;
    parallel((strips + kChunk - 1) / kChunk, [&](Jobs& jobs) {
      Buffer<C> cells(whole + carried + kHalo);
      Buffer<Line> scratch(columns_fft_.scratch()), column(SINGLE ? scan_.grid_rows : 1);
      for (int64_t job; jobs.take(&job);) {
        const int begin = int(job) * kChunk, end = least(strips, begin + kChunk);
        memset((void*)(C*)cells, 0, sizeof(C) * (whole + carried + kHalo));
        if (begin > 0) {  // for the columns that the strip before hands on, and nothing else
          spread(frequencies, begin - 1, kStrip - overhang, cells);
          next_strip(cells, whole, carried);
        }
        for (int strip = begin; strip < end; strip++) {
          spread(frequencies, strip, 0, cells);
          fold(strip, cells);
          transform_columns(strip, cells, scratch, column, half_image);
          next_strip(cells, whole, carried);
        }
      }
      finish_streams();
    });
  }

  void adjoint_rows(const C* half_image, int n_slices, T* images) const {
    parallel(Job<T, SINGLE>::count(scan_.rows), [&](Jobs& jobs) {
      const int64_t width = half_width(scan_);
      Buffer<Line> scratch(rows_fft_.scratch()), line(scan_.columns), transposed(SINGLE ? 2 * width : 1);
      const int n = scan_.grid_columns, zero = scan_.columns / 2;
      const unsigned columns = scan_.columns;
      for (int64_t job; jobs.take(&job);) {
        const Line *a, *b;
        rows_of(half_image, job, transposed, &a, &b);
        a += kStrip / 2, b += kStrip / 2;
        rows_fft_.run(scratch, TwoRows<T>{a, b, n, SINGLE ? 0 : 4 * width},
                      CentredReverse<T, false>{line, 1, column_scale_, n, zero, columns});
        T* lines[Line::values];
        locate_lines<T, SINGLE>(images, job, n_slices, scan_.rows, scan_.columns, nullptr, lines);
        unpack_rows<T>(line, scan_.columns, lines);
      }
    });
  }

  void project_rows(const T* images, int n_slices, C* half_image) const {
    parallel(Job<T, SINGLE>::count(scan_.rows), [&](Jobs& jobs) {
      const int n = scan_.grid_columns, zero = scan_.columns / 2;
      const unsigned columns = scan_.columns;
      Buffer<Line> scratch(rows_fft_.scratch()), line(scan_.columns), z(n);
      for (int64_t job; jobs.take(&job);) {
        const T* lines[Line::values];
        locate_lines<T, SINGLE>(images, job, n_slices, scan_.rows, scan_.columns, nullptr, lines);
        pack_rows<T>(lines, scan_.columns, line);
        rows_fft_.run(scratch, Centred<T>{line, 1, column_scale_, n, zero, columns}, Array<T>{z});
        separate_rows(z, job, half_image);
      }
      finish_streams();
    });
  }

  void project_columns(const C* half_image, C* frequencies) const {
    const int strips = n_strips(scan_), overhang = scan_.width - 1;
    const int64_t carried = int64_t(overhang) * length_, whole = int64_t(kStrip) * length_;
    parallel((strips + kChunk - 1) / kChunk, [&](Jobs& jobs) {
      Buffer<C> cells(2 * whole + kHalo);
      Buffer<Line> scratch(columns_fft_.scratch()), column(SINGLE ? scan_.grid_rows : 1);
      for (int64_t job; jobs.take(&job);) {
        const int begin = int(job) * kChunk, end = least(strips, begin + kChunk);
        memset((void*)(C*)cells, 0, sizeof(C) * (2 * whole + kHalo));
        if (end < strips) fill_columns(half_image, end, overhang, scratch, column, cells + whole);
        for (int strip = end - 1; strip >= begin; strip--) {  // downwards: a strip wants the first columns of the next
          fill_columns(half_image, strip, kStrip, scratch, column, cells);
          mirror(strip, cells);
          gather(frequencies, strip, cells);
          memcpy((void*)(cells + whole), (const C*)cells, sizeof(C) * carried);
        }
      }
      finish_streams();
    });
  }

 private:
  static constexpr int kChunk = 16;

  static int first_column(int strip) { return strip * kStrip - kStrip / 2; }

  template <class F>
  TOMO_INLINE_MEMBER void with_width(const F& f) const {
    switch (scan_.width) {
      case 4: return f(Width<4>{});
      case 5: return f(Width<5>{});
      default: return f(Width<8>{});
    }
  }
  template <int W>
  struct Width {
    static constexpr int value = W;
  };
  template <int W>
  using Kernel = Either<SINGLE, SingleKernel<T, W>, Taps<T, W>>;

  // The points whose kernels start in column `from` of the strip or after it.
  void spread(const C* frequencies, int strip, int from, C* cells) const {
    const int column = first_column(strip);
    const int64_t length = RayStage<T, SINGLE, SINGLE>::ray_length(scan_);
    with_width([&](auto w) {
      const Kernel<decltype(w)::value> kernel(scan_);
      for (int ray = 0; ray < scan_.n_angles; ray++)
        spread_points(scan_, kernel, ray, column, column + from, column + kStrip, frequencies + ray * length, 3 * length,
                      cells);
    });
  }

  void gather(C* frequencies, int strip, const C* cells) const {
    const int column = first_column(strip);
    const int64_t length = RayStage<T, SINGLE, SINGLE>::ray_length(scan_);
    with_width([&](auto w) {
      const Kernel<decltype(w)::value> kernel(scan_);
      for (int ray = 0; ray < scan_.n_angles; ray++)
        gather_points(scan_, kernel, ray, column, column, column + kStrip, frequencies + ray * length, cells);
    });
  }

  static void next_strip(C* cells, int64_t whole, int64_t carried) {
    static_assert(kMaxWidth - 1 <= kStrip, "what is handed on must not overlap where it goes");
    memcpy((void*)cells, cells + whole, sizeof(C) * carried);
    memset((void*)(cells + carried), 0, sizeof(C) * whole);
  }

  static TOMO_INLINE_MEMBER void add(C& to, const C& c) {
    if constexpr (SINGLE)
      to.re += c.re, to.im += c.im;
    else
      TOMO_UNROLL for (int part = 0; part < Line::parts; part++) to.part[part] += c.part[part];
  }
  static TOMO_INLINE_MEMBER C conjugated(const C& c) {
    if constexpr (SINGLE) {
      return {c.re, -c.im};
    } else {
      C r;
      TOMO_UNROLL for (int part = 0; part < Line::parts; part++) r.part[part] = conjugate(c.part[part]);
      return r;
    }
  }

  // Cells beyond the row frequencies belong to the other end; columns beyond 0 and grid_columns / 2 to their mirror images.
  void fold(int strip, C* cells) const {
    const bool low = strip == 0, high = strip == n_strips(scan_) - 1;
    const int half = scan_.grid_rows / 2, n = kStrip + (high ? 1 : 0);
    for (int column = 0; column < n; column++) {
      C* zero = cells + column * length_ + row_zero(scan_);
      for (int j = 1; j <= kHalo; j++) add(zero[half - j], zero[-half - j]);
      for (int j = 0; j < kHalo; j++) add(zero[-half + j], zero[half + j]);
    }
    if (!low && !high) return;
    C* edge = cells + kStrip / 2 * length_ + row_zero(scan_);
    const int outward = low ? -1 : 1;
    for (int j = 1; j <= kStrip / 2 - (low ? 1 : 0); j++) {
      const C* out = edge + outward * j * length_;
      C* in = edge - outward * j * length_;
      for (int k = -half; k < half; k++) add(in[k], conjugated(out[k == -half ? k : -k]));
    }
    for (int k = 0; k <= half; k++) {
      C &a = edge[k == half ? -half : k], &b = edge[k == half ? -half : -k];
      const C sum_a = conjugated(b), sum_b = conjugated(a);
      if (&a != &b) add(b, sum_b);
      add(a, sum_a);
    }
  }

  // The transpose: fills cells of columns beyond the edges of the half plane.
  void mirror(int strip, C* cells) const {
    const bool low = strip == 0, high = strip == n_strips(scan_) - 1;
    if (!low && !high) return;
    C* edge = cells + kStrip / 2 * length_ + row_zero(scan_);
    const int outward = low ? -1 : 1, half = scan_.grid_rows / 2;
    for (int j = 1; j <= kStrip / 2 - (low ? 1 : 0); j++) {
      C* out = edge + outward * j * length_;
      const C* in = edge - outward * j * length_;
      for (int k = -half; k < half; k++) out[k] = conjugated(in[k == -half ? k : -k]);
      extend(out);
    }
  }

  // Periodic beyond the row frequencies.
  void extend(C* zero) const {
    const int half = scan_.grid_rows / 2;
    for (int j = 1; j <= kHalo; j++) zero[-half - j] = zero[half - j];
    for (int j = 0; j < kHalo + 8; j++) zero[half + j] = zero[-half + j];
  }

  // Columns of the half plane in a strip: begin .. end - 1.
  void kept_columns(int strip, int* begin, int* end) const {
    *begin = strip == 0 ? kStrip / 2 : 0;
    *end = strip == n_strips(scan_) - 1 ? kStrip / 2 + 1 : kStrip;
  }

  void transform_columns(int strip, C* cells, Line* scratch, Line* column, C* half_image) const {
    const int64_t width = half_width(scan_);
    const int n = scan_.grid_rows, zero = scan_.rows / 2;
    const unsigned rows = scan_.rows;
    C* to = half_image + int64_t(strip) * kStrip;
    if constexpr (SINGLE) {
      for (int b = 0; b < kStrip; b += Line::lanes) {
        lanes_from_columns(cells + b * length_, column);
        columns_fft_.run(scratch, Wrapped<T>{column + n / 2, n},
                         CentredReverse<T, true>{(Line*)(to + b), width / Line::lanes, row_scale_, n, zero, rows});
      }
    } else {
      int begin, end;
      kept_columns(strip, &begin, &end);
      for (int b = begin; b < end; b++)
        columns_fft_.run(scratch, Wrapped<T>{cells + b * length_ + row_zero(scan_), n},
                         CentredReverse<T, true>{to + b, width, row_scale_, n, zero, rows});
    }
  }

  // Columns of a strip as lanes, from row frequency -grid_rows / 2 on; and back.
  void lanes_from_columns(const C* cells, Line* column) const {
    constexpr int lanes = Line::lanes;
    const C* from = cells + row_zero(scan_) - scan_.grid_rows / 2;
    for (int k = 0; k < scan_.grid_rows; k += lanes) {
      for (int l = 0; l < lanes; l++) memcpy(&column[k + l], from + l * int64_t(length_) + k, sizeof(Line));
      transpose_lanes(column + k);
    }
  }
  void columns_from_lanes(Line* column, C* cells) const {
    constexpr int lanes = Line::lanes;
    C* to = cells + row_zero(scan_) - scan_.grid_rows / 2;
    for (int k = 0; k < scan_.grid_rows; k += lanes) {
      transpose_lanes(column + k);
      for (int l = 0; l < lanes; l++) memcpy((void*)(to + l * int64_t(length_) + k), &column[k + l], sizeof(Line));
    }
  }

  // The first `count` columns of a strip, transformed.
  void fill_columns(const C* half_image, int strip, int count, Line* scratch, Line* column, C* cells) const {
    const int64_t width = half_width(scan_);
    const int n = scan_.grid_rows, zero = scan_.rows / 2;
    const unsigned rows = scan_.rows;
    const C* from = half_image + int64_t(strip) * kStrip;
    if constexpr (SINGLE) {
      for (int b = 0; b < count; b += Line::lanes) {
        columns_fft_.run(scratch,
                         Centred<T>{(const Line*)(from + b), width / Line::lanes, row_scale_, n, zero, rows},
                         Wrapped<T>{column + n / 2, n});
        columns_from_lanes(column, cells + b * length_);
      }
    } else {
      int begin, end;
      kept_columns(strip, &begin, &end);
      for (int b = begin; b < least(end, count); b++)
        columns_fft_.run(scratch, Centred<T>{from + b, width, row_scale_, n, zero, rows},
                         Wrapped<T>{cells + b * length_ + row_zero(scan_), n});
    }
    for (int b = 0; b < (SINGLE ? kStrip : count); b++) extend(cells + b * length_ + row_zero(scan_));
  }

  // Rows of the half-transformed image, of the first and of the second line of each lane.
  void rows_of(const C* half_image, int64_t job, Line* transposed, const Line** a, const Line** b) const {
    const int64_t width = half_width(scan_);
    if constexpr (SINGLE) {
      constexpr int lanes = Line::lanes;
      for (int h = 0; h < 2; h++)
        for (int64_t c = 0; c < width; c += lanes) {
          Line* square = transposed + h * width + c;
          for (int l = 0; l < lanes; l++) {
            const int row = Job<T, SINGLE>::line(job, 2 * l + h);
            if (row < scan_.rows)
              memcpy(square + l, half_image + row * width + c, sizeof(Line));
            else
              memset((void*)(square + l), 0, sizeof(Line));
          }
          transpose_lanes(square);
        }
      *a = transposed, *b = transposed + width;
    } else {
      *a = half_image + 2 * job * width;
      *b = 2 * job + 1 < scan_.rows ? *a + width : *a;  // of an odd row, the partner is thrown away
    }
  }

  // z: transform of x + i y of two real lines; twice what each has by itself.
  void separate_rows(const Line* z, int64_t job, C* half_image) const {
    constexpr int lanes = Line::lanes;
    const int64_t width = half_width(scan_);
    const int n = scan_.grid_columns;
    Line square[2][lanes];
    for (int c0 = 0; c0 < width; c0 += lanes) {
      for (int l = 0; l < lanes; l++) {
        const int c = c0 + l - kStrip / 2;
        if (c < 0 || c > half_) {
          memset((void*)&square[0][l], 0, sizeof(Line)), memset((void*)&square[1][l], 0, sizeof(Line));
          continue;
        }
        const Line &u = z[c], &v = z[c ? n - c : 0];
        TOMO_UNROLL for (int part = 0; part < Line::parts; part++) {
          const Part<T> a = u.part[part], b = conjugate(v.part[part]);
          square[0][l].part[part] = a + b, square[1][l].part[part] = minus_i(a - b);
        }
      }
      for (int h = 0; h < 2; h++) {
        if (SINGLE) transpose_lanes(square[h]);
        for (int l = 0; l < lanes; l++) {
          const int row = SINGLE ? Job<T, SINGLE>::line(job, 2 * l + h) : int(2 * job + h);
          if (row >= scan_.rows) break;
          Line* to = SINGLE ? (Line*)(half_image + row * width + c0) : (Line*)(half_image + row * width + c0 + l);
          TOMO_UNROLL for (int part = 0; part < Line::parts; part++) stream(&to->part[part], square[h][l].part[part]);
        }
      }
    }
  }

  const FourierScan& scan_;
  const Fft<T> rows_fft_, columns_fft_;
  Buffer<T> row_scale_, column_scale_;
  const int64_t length_;
  const int half_;
};

}  // namespace tomolearn::TOMOLEARN_LEVEL
