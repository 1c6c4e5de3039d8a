// Packed projection: projections[angle, d] = sum over pixels p of hat(t(p) - d) image[p], walked row by row (or column by
// column) along the axis that the ray is nearer to.
//
// A job is a group of angles of one class and a range of detectors; its piece of the sinogram stays in a private buffer in
// L2 while the image streams through once: bands of 8 rows > windows of 32 columns (they fit L1) > angles > the rays whose
// position on the band's middle row lies in the window. Each ray belongs to exactly one window, so nothing is masked and
// nothing done twice; on other rows it strays by at most half a band. One packed image serves both classes: rows and
// columns swap strides. A zero margin all round makes bounds tests needless.
#pragma once
#include "gather.h"

namespace tomolearn::TOMOLEARN_LEVEL {

template <class T, int Z>
class PackedProjector {
 public:
  PackedProjector(const Geometry& g, Footprint footprint)
      : g_(g), footprint_(footprint), views_(g), group_(g.n_angles / kAngles + 4) {
    n_groups_ = views_.groups(g.n_angles, kAngles, group_);
    for (int a = 0; a < g.n_angles; a++) {
      const Hat hat = hat_across(a);
      pairs_ = most(pairs_, hat_pairs(hat.peak, hat.slope));
    }
    reach_ = kBand / 2 + 1 + pairs_;
    margin_ = reach_ + kBand / 2 + pairs_ + 2;
    pitch_ = g.columns + 2 * int64_t(margin_);
    // Jobs are split by detectors too, so that their piece of the sinogram stays in L2 and few angles make enough jobs.
    // The sums do not depend on it.
    const int64_t bytes = int64_t(kAngles) * g.n_detectors * Z * sizeof(T);
    n_ranges_ = least(most(int(bytes >> kLogBytes) + 1, 32 / n_groups_), most(1, g.n_detectors / 64));
  }

  void run(const T* image, T* projections, int n_slices) {
    Buffer<T> packed((g_.rows + 2 * int64_t(margin_)) * pitch_ * Z);
    pack_image(image, n_slices, packed);
    parallel(int64_t(n_groups_) * n_ranges_, [&](Jobs& jobs) {
      Buffer<T> sum(int64_t(kAngles) * (g_.n_detectors / n_ranges_ + 1) * Z);
      Tables tables(kBand * pairs_);
      for (int64_t job; jobs.take(&job);) {
        const int b = int(job / n_ranges_), q = int(job % n_ranges_);
        Range range{group_[b], group_[b + 1], int(int64_t(g_.n_detectors) * q / n_ranges_),
                    int(int64_t(g_.n_detectors) * (q + 1) / n_ranges_)};
        memset(sum, 0, sizeof(T) * (range.last_angle - range.first_angle) * (range.end - range.begin) * Z);
        sum_range(packed, range, sum, tables);
        for (int a = range.first_angle; a < range.last_angle; a++)
          unpack<T, Z>(sum + int64_t(a - range.first_angle) * (range.end - range.begin) * Z, n_slices,
                       range.end - range.begin, projections + int64_t(views_.angle[a]) * g_.n_detectors + range.begin,
                       int64_t(g_.n_angles) * g_.n_detectors);
      }
    });
  }

 private:
  static constexpr int kBand = 8, kWindow = 32, kAngles = 32, kLogBytes = 20;
  static constexpr int kOutputs = outputs_at_once<T, Z>();

  struct Range {
    int first_angle, last_angle, begin, end;  // angles in sorted order; detectors
  };
  struct Tables {
    Buffer<int> offset;
    Buffer<T> w0, w1;
    explicit Tables(int rows) : offset(rows * kGroup), w0(rows * kGroup), w1(rows * kGroup) {}
  };
  // The walked axis (n_along samples, `along` elements apart) and the axis across.
  struct Axes {
    int n_along, n_across;
    int64_t along, across;
  };

  // The hat over the pixel coordinate across the ray.
  Hat hat_across(int a) const {
    const double step = fabs(views_.across[a]);
    const Hat hat = make_hat(footprint_, step, g_.spacing);
    return {hat.peak, hat.slope * step};
  }

  void pack_image(const T* image, int n_slices, T* packed) const {
    parallel(g_.rows + 2 * int64_t(margin_), [&](Jobs& jobs) {
      for (int64_t job; jobs.take(&job);) {
        T* row = packed + job * pitch_ * Z;
        const int64_t y = job - margin_;
        if (y < 0 || y >= g_.rows) {
          memset(row, 0, sizeof(T) * pitch_ * Z);
          continue;
        }
        memset(row, 0, sizeof(T) * margin_ * Z);
        memset(row + (margin_ + g_.columns) * int64_t(Z), 0, sizeof(T) * margin_ * Z);
        pack<T, Z>(image + y * g_.columns, int64_t(g_.rows) * g_.columns, n_slices, g_.columns, row + margin_ * int64_t(Z));
      }
    });
  }

  void sum_range(const T* packed, const Range& range, T* sum, Tables& tables) const {
    const bool steep = range.first_angle < views_.n_steep;
    const Axes axes = steep ? Axes{g_.rows, g_.columns, pitch_ * Z, Z} : Axes{g_.columns, g_.rows, Z, pitch_ * Z};
    const T* origin = packed + margin_ * (pitch_ + 1) * Z;
    for (int r = 0; r < axes.n_along; r += kBand) {
      double low = axes.n_across + reach_, high = -reach_;  // what the range's rays see of the middle row
      for (int a = range.first_angle; a < range.last_angle; a++) {
        const double u0 = crossing(a, r + 0.5 * (kBand - 1), range.begin), u1 = crossing(a, r + 0.5 * (kBand - 1), range.end - 1);
        low = least(low, least(u0, u1)), high = most(high, most(u0, u1));
      }
      const int end = int(least(double(axes.n_across + reach_), floor(high) + 1));
      for (int window = int(most(double(-reach_), floor(low))); window < end; window += kWindow)
        for (int a = range.first_angle; a < range.last_angle; a++)
          sum_window(origin, axes, r, window, least(window + kWindow, axes.n_across + reach_), a, range,
                     sum + int64_t(a - range.first_angle) * (range.end - range.begin) * Z, tables);
    }
  }

  // Pixel coordinate, across, where the ray of detector d meets line r of the walked axis.
  double crossing(int a, double r, int d) const { return (d - views_.origin[a] - r * views_.along[a]) / views_.across[a]; }

  void sum_window(const T* origin, const Axes& axes, int r, int begin, int end, int a, const Range& range, T* sum,
                  Tables& tables) const {
    const double step = 1 / views_.across[a], shift = -views_.along[a] * step;  // of u, from ray to ray and line to line
    // Rays with begin <= u < end on the middle line: detectors d0 <= d < d1.
    // One expression for both ends: a ray on the border of two windows must not fall into both, or neither.
    const auto detector = [&](int u) {
      return views_.origin[a] + (r + 0.5 * (kBand - 1)) * views_.along[a] + u * views_.across[a];
    };
    const double to_begin = detector(begin), to_end = detector(end);
    const double d0 = step > 0 ? ceil(to_begin) : floor(to_end) + 1, d1 = step > 0 ? ceil(to_end) : floor(to_begin) + 1;
    const int first = int(most(d0, double(range.begin))), last = int(least(d1, double(range.end)));
    const int lines = least(kBand, axes.n_along - r);
    const Hat hat = hat_across(a);
    const double lowest = least(0.0, (lines - 1) * shift);
    for (int d = first; d < last; d += kGroup) {
      // Each ray has a grid point of its own, found in double precision: float then holds less than 10 pixels.
      T position[kGroup];
      int own[kGroup];
      const int n = least(kGroup, last - d);
      for (int k = 0; k < kGroup; k++) {
        const double u = (least(d + k, last - 1) - views_.origin[a] - r * views_.along[a]) * step, low = floor(u + lowest);
        position[k] = T(u - low);
        own[k] = int(low);
      }
      const int64_t base = int64_t(r) * axes.along + own[0] * axes.across;
      const int first_own = own[0];
      for (int k = 0; k < kGroup; k++) own[k] = (own[k] - first_own) * int(axes.across);
      for (int line = 0; line < lines; line++) {
        const int at = line * pairs_ * kGroup, row = int(line * axes.along);
        if (pairs_ > 1)
          wide_table_rows<T>(position, T(line * shift), T(hat.peak), T(hat.slope), pairs_, row, own, int(axes.across),
                             tables.offset + at, tables.w0 + at, tables.w1 + at);
        else if (footprint_ == Footprint::line)
          table_row<T, true>(position, T(line * shift), T(hat.peak), T(hat.slope), row, own, int(axes.across),
                             tables.offset + at, tables.w0 + at, tables.w1 + at);
        else
          table_row<T, false>(position, T(line * shift), T(hat.peak), T(hat.slope), row, own, int(axes.across),
                              tables.offset + at, tables.w0 + at, tables.w1 + at);
      }
      for (int k = 0; k < n; k += kOutputs)
        gather<T, Z, kOutputs>(sum + (d - range.begin + k) * int64_t(Z), n - k, origin + base, axes.across, tables.offset + k,
                               tables.w0 + k, tables.w1 + k, lines * pairs_);
    }
  }

  const Geometry& g_;
  const Footprint footprint_;
  SortedViews views_;
  Buffer<int> group_;
  int n_groups_ = 0, n_ranges_ = 1, pairs_ = 1, reach_ = 0, margin_ = 0;
  int64_t pitch_ = 0;  // pixels of a packed row, margins included
};

template <class T, int Z>
void project_packed(const Geometry& g, Footprint footprint, const T* image, T* projections, int n_slices) {
  PackedProjector<T, Z>(g, footprint).run(image, projections, n_slices);
}

}  // namespace tomolearn::TOMOLEARN_LEVEL
