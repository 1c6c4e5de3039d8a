// Projection of one slice along lines (Joseph). Lanes are neighbouring rays, 1 to 1.42 detector bins of pixels apart, so
// 16 (8) of them touch fewer pixels than two vectors hold. The (e, d) tables of the image exist twice, by rows for the rays
// that cross rows and by columns for the others. Four unaligned loads serve 16 updates: the load ports are the limit.
#pragma once
#include "lanes.h"

#if TOMO_VECTOR_BYTES >= 32
namespace tomolearn::TOMOLEARN_LEVEL {

class SingleProjector {
 public:
  explicit SingleProjector(const Geometry& g) : g_(g), views_(g), group_(g.n_angles / kAngles + 4) {
    n_groups_ = views_.groups(g.n_angles, kAngles, group_);
    margin_ = (int(ceil((kLanes - 1) * 1.4143 * g.spacing)) + 4 + 15) / 16 * 16;
    n_ranges_ = least(most(1, 16 / n_groups_), most(1, g.n_detectors / (4 * kRays)));
  }

  void run(const float* image, float* projections) {
    const Lines by_rows(g_.rows, g_.columns, margin_), by_columns(g_.columns, g_.rows, margin_);
    tabulate_rows(image, by_rows);
    tabulate_columns(image, by_columns);
    parallel(int64_t(n_groups_) * n_ranges_, [&](Jobs& jobs) {
      const int width = (g_.n_detectors + kRays - 1) / kRays;  // in groups of rays
      Buffer<float> sum(int64_t(kAngles) * (width / n_ranges_ + 1) * kRays);
      for (int64_t job; jobs.take(&job);) {
        const int b = int(job / n_ranges_), q = int(job % n_ranges_);
        const int begin = int(int64_t(width) * q / n_ranges_) * kRays, end = int(int64_t(width) * (q + 1) / n_ranges_) * kRays;
        memset(sum, 0, int64_t(group_[b + 1] - group_[b]) * (end - begin) * sizeof(float));
        const Lines& lines = group_[b] < views_.n_steep ? by_rows : by_columns;
        for (int r = 0; r < lines.count; r += kBand)
          for (int a = group_[b]; a < group_[b + 1]; a++)
            sum_band(lines, r, a, begin, end, sum + int64_t(a - group_[b]) * (end - begin));
        for (int a = group_[b]; a < group_[b + 1]; a++) {
          const float scale = float(make_hat(Footprint::line, fabs(views_.across[a]), g_.spacing).peak);
          float* out = projections + int64_t(views_.angle[a]) * g_.n_detectors;
          for (int d = begin; d < least(end, g_.n_detectors); d++)
            out[d] = scale * sum[int64_t(a - group_[b]) * (end - begin) + d - begin];
        }
      }
    });
  }

 private:
  static constexpr int kBand = 16, kAngles = 16, kGroups = 4, kRays = kGroups * kLanes;

  // (e, d) of `count` lines of `length` pixels with zero margins.
  struct Lines {
    int count, length, margin;
    int64_t pitch;
    mutable Buffer<float> e, d;
    Lines(int count, int length, int margin)
        : count(count), length(length), margin(margin), pitch(length + 2 * int64_t(margin) + 32), e(pitch * count), d(pitch * count) {}
  };

  void tabulate_rows(const float* image, const Lines& lines) const {
    parallel(g_.rows, [&](Jobs& jobs) {
      for (int64_t y; jobs.take(&y);) tabulate(image + y * g_.columns, lines, y);
    });
  }

  // Sixteen columns at a time: a cache line of each row.
  void tabulate_columns(const float* image, const Lines& lines) const {
    parallel((g_.columns + 15) / 16, [&](Jobs& jobs) {
      Buffer<float> turned(16 * int64_t(g_.rows));
      for (int64_t job; jobs.take(&job);) {
        const int first = int(job) * 16, n = least(16, g_.columns - first);
        for (int y = 0; y < g_.rows; y++)
          for (int x = 0; x < n; x++) turned[int64_t(x) * g_.rows + y] = image[int64_t(y) * g_.columns + first + x];
        for (int x = 0; x < n; x++) tabulate(turned + int64_t(x) * g_.rows, lines, first + x);
      }
    });
  }

  static void tabulate(const float* samples, const Lines& lines, int64_t line) {
    float *e = lines.e + line * lines.pitch, *d = lines.d + line * lines.pitch;
    memset(e, 0, lines.pitch * sizeof(float)), memset(d, 0, lines.pitch * sizeof(float));
    tabulate_line(samples, lines.length, e + lines.margin, d + lines.margin);
  }

  // Adds lines r .. r + kBand of the rays of one angle with begin <= d < end.
  void sum_band(const Lines& lines, int r, int a, int begin, int end, float* sum) const {
    const int n = least(kBand, lines.count - r);
    const double step = 1 / views_.across[a], shift = -views_.along[a] * step;
    const double u0 = (-views_.origin[a] - r * views_.along[a]) * step;  // of ray 0 on line r
    const bool gather = (kLanes - 1) * fabs(step) > 2 * kLanes - 1 - 1e-3;
    const double lowest = least(0.0, (kLanes - 1) * step);
    const int whole_step = (int)lrint(step * kFixed), first = (int)lrint(lowest * kFixed);
    int lane[kLanes];
    for (int q = 0; q < kLanes; q++) lane[q] = q * whole_step - first;
    // Rays that can meet the image within the band.
    const double left = -1 - most(0.0, (n - 1) * shift) - u0, right = lines.length - least(0.0, (n - 1) * shift) - u0;
    const double d0 = floor((step > 0 ? left : right) / step), d1 = ceil((step > 0 ? right : left) / step) + 1;
    const int last = int(least(double(least(end, g_.n_detectors)), d1));
    constexpr double two32 = 4294967296.0;
    const int64_t line_step = llrint(shift * two32), group_step = llrint(kLanes * step * two32);
    int fraction[kBand * kGroups];
    int64_t window[kBand * kGroups];
    for (int d = begin + int(most(d0 - begin, 0.0)) / kRays * kRays; d < last; d += kRays) {
      const int64_t start = llrint((u0 + lowest + d * step) * two32);
      for (int line = 0; line < n; line++)
        for (int q = 0; q < kGroups; q++) {
          const int64_t u = start + line * line_step + q * group_step;  // 32.32 fixed point
          fraction[line * kGroups + q] = int(uint32_t(u) >> 9);
          // Outside the image: the zeros of the margin.
          window[line * kGroups + q] = (r + line) * lines.pitch + lines.margin +
                                       least(most(u >> 32, -int64_t(lines.margin)), int64_t(lines.length));
        }
      if (gather)
        sum_rays<true>(sum + d - begin, n, fraction, window, lines, lane);
      else
        sum_rays<false>(sum + d - begin, n, fraction, window, lines, lane);
    }
  }

  template <bool GATHER>
  static TOMO_INLINE_MEMBER void sum_rays(float* sum, int n, const int* fraction, const int64_t* window, const Lines& lines,
                                          const int* lane) {
    const float *e = lines.e, *d = lines.d;
    const Ints k = load(lane);
    Floats s[kGroups];
    TOMO_UNROLL for (int q = 0; q < kGroups; q++) s[q] = load(sum + q * kLanes);
    for (int line = 0; line < n; line++)
      TOMO_UNROLL for (int q = 0; q < kGroups; q++) {
        const Ints t = add(all(fraction[line * kGroups + q]), k), i = whole(t);
        const Floats u = one_plus_fraction(t);
        const float *pe = e + window[line * kGroups + q], *pd = d + window[line * kGroups + q];
        const Floats a = GATHER ? pick_any(i, pe) : pick_two(i, pe), b = GATHER ? pick_any(i, pd) : pick_two(i, pd);
        s[q] = multiply_add(u, b, s[q] + a);
      }
    TOMO_UNROLL for (int q = 0; q < kGroups; q++) store(sum + q * kLanes, s[q]);
  }

  const Geometry& g_;
  SortedViews views_;
  Buffer<int> group_;
  int n_groups_ = 0, n_ranges_ = 1, margin_ = 0;
};

static bool project_single(const Geometry& g, Footprint footprint, const float* image, float* projections) {
  if (footprint != Footprint::line || g.spacing > 8) return false;  // 16 rays must span fewer than 256 pixels
  SingleProjector(g).run(image, projections);
  return true;
}

}  // namespace tomolearn::TOMOLEARN_LEVEL
#endif
