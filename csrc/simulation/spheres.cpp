#include "spheres.h"

#include <numbers>

namespace tomolearn::simulation {
namespace {

// Which spheres each slice, one pixel thick, touches; in the order of the table, so that sums have one order.
class SliceIndex {
 public:
  SliceIndex(const std::vector<Sphere>& spheres, int64_t n_slices)
      : middle_(static_cast<double>(n_slices - 1) / 2), starts_(n_slices + 1) {
    for (const Sphere& s : spheres)
      for (Range r = touched(s); r.first <= r.last; r.first++) starts_[r.first + 1]++;
    for (int64_t k = 0; k < n_slices; k++) starts_[k + 1] += starts_[k];
    members_.resize(starts_.back());
    std::vector<int64_t> next(starts_.begin(), starts_.end() - 1);
    for (const Sphere& s : spheres)
      for (Range r = touched(s); r.first <= r.last; r.first++) members_[next[r.first]++] = &s - spheres.data();
  }

  double z(int64_t slice) const { return static_cast<double>(slice) - middle_; }
  const int64_t* begin(int64_t slice) const { return members_.data() + starts_[slice]; }
  const int64_t* end(int64_t slice) const { return members_.data() + starts_[slice + 1]; }

 private:
  Range touched(const Sphere& s) const {
    return Range(s.z + middle_ - s.r - 0.5, s.z + middle_ + s.r + 0.5, static_cast<int64_t>(starts_.size()) - 1);
  }

  double middle_;
  std::vector<int64_t> starts_, members_;
};

// Where sample i of n lies within a pixel; written so that sample n - 1 - i lies at exactly the negative.
double sample_offset(int64_t i, int64_t n) { return static_cast<double>(2 * i + 1 - n) / static_cast<double>(2 * n); }

// The disc that a plane across the rotation axis cuts out of a sphere; h is the square of its radius.
struct Disc {
  double value, x, y, w, h;
};

std::vector<Disc> cut(const std::vector<Sphere>& spheres, const SliceIndex& index, int64_t slice, double z) {
  std::vector<Disc> discs;
  discs.reserve(index.end(slice) - index.begin(slice));
  for (const int64_t* i = index.begin(slice); i != index.end(slice); i++) {
    const Sphere& s = spheres[*i];
    const double h = s.r * s.r - (s.z - z) * (s.z - z);
    if (h > 0) discs.push_back({s.value, s.x, s.y, std::sqrt(h), h});
  }
  return discs;
}

void add_chords(const Disc& disc, double t0, double center, double step, int64_t n, double* row) {
  const Range range(center + (t0 - disc.w) / step, center + (t0 + disc.w) / step, n);
  const double twice = 2 * disc.value, shift = center * step + t0;
  for (int64_t d = range.first; d <= range.last; d++) {
    const double t = static_cast<double>(d) * step - shift;
    row[d] += twice * std::sqrt(std::max(0.0, disc.h - t * t));
  }
}

// Adds value * (share of the samples of each voxel that lie in the sphere) to one slice.
void add_voxels(const Sphere& s, double z, int64_t rows, int64_t columns, int64_t n, double* slice) {
  const double row0 = static_cast<double>(rows - 1) / 2, column0 = static_cast<double>(columns - 1) / 2;
  // No sample lies further than `reach` from the voxel's centre, so voxels away from the surface need no samples.
  const double reach = std::numbers::sqrt3 / 2 * static_cast<double>(n - 1) / static_cast<double>(n);
  const double inner = std::max(0.0, s.r - reach), outer = s.r + reach;
  const double inner2 = s.r >= reach ? inner * inner : -1, outer2 = outer * outer;
  const Range rows_touched(row0 - s.y - outer, row0 - s.y + outer, rows);
  const Range columns_touched(column0 + s.x - outer, column0 + s.x + outer, columns);
  const double dz = z - s.z, r2 = s.r * s.r;
  for (int64_t i = rows_touched.first; i <= rows_touched.last; i++) {
    const double dy = row0 - static_cast<double>(i) - s.y, dyz2 = dy * dy + dz * dz;
    for (int64_t j = columns_touched.first; j <= columns_touched.last; j++) {
      const double dx = static_cast<double>(j) - column0 - s.x, distance2 = dx * dx + dyz2;
      if (distance2 > outer2) continue;
      double share = 1;
      if (distance2 > inner2) {
        int64_t count = 0;
        for (int64_t c = 0; c < n; c++)
          for (int64_t b = 0; b < n; b++)
            for (int64_t a = 0; a < n; a++) {
              const double u = dx + sample_offset(a, n), v = dy + sample_offset(b, n), w = dz + sample_offset(c, n);
              count += u * u + v * v + w * w <= r2;
            }
        share = static_cast<double>(count) / static_cast<double>(n * n * n);
      }
      slice[i * columns + j] += s.value * share;
    }
  }
}

}  // namespace

template <class T>
void project_spheres(const std::vector<Sphere>& spheres, const Scan& scan, int64_t n_slices, int supersampling,
                     int n_threads, Poll& poll, T* out) {
  constexpr int64_t kBlock = 32;  // angles that share one cut through the spheres
  const SliceIndex index(spheres, n_slices);
  const int64_t n = supersampling, n_fine = scan.n_detectors * n, n_blocks = (scan.n_angles + kBlock - 1) / kBlock;
  const double step = scan.spacing / static_cast<double>(n);
  parallel_for(n_slices * n_blocks, n_threads, poll, [&](int64_t item) {
    const int64_t slice = item / n_blocks, first = item % n_blocks * kBlock;
    const int64_t last = std::min(scan.n_angles, first + kBlock);
    std::vector<double> rows((last - first) * n_fine);
    for (int64_t sub = 0; sub < n; sub++) {
      const std::vector<Disc> discs = cut(spheres, index, slice, index.z(slice) + sample_offset(sub, n));
      for (int64_t k = first; k < last; k++) {
        const double cosine = std::cos(scan.angles[k]), sine = std::sin(scan.angles[k]);
        const double center = static_cast<double>(n) * scan.center(slice, k) + static_cast<double>(n - 1) / 2;
        for (const Disc& disc : discs)
          add_chords(disc, disc.x * cosine + disc.y * sine, center, step, n_fine, rows.data() + (k - first) * n_fine);
      }
    }
    T* target = out + (slice * scan.n_angles + first) * scan.n_detectors;
    for (int64_t d = 0; d < (last - first) * scan.n_detectors; d++) {
      double sum = 0;
      for (int64_t i = 0; i < n; i++) sum += rows[d * n + i];
      target[d] = static_cast<T>(sum / static_cast<double>(n * n));
    }
  });
}

template <class T>
void fill_spheres(const std::vector<Sphere>& spheres, int64_t n_slices, int64_t rows, int64_t columns,
                  int supersampling, int n_threads, Poll& poll, T* out) {
  const SliceIndex index(spheres, n_slices);
  parallel_for(n_slices, n_threads, poll, [&](int64_t slice) {
    std::vector<double> sums(rows * columns);
    for (const int64_t* i = index.begin(slice); i != index.end(slice); i++)
      add_voxels(spheres[*i], index.z(slice), rows, columns, supersampling, sums.data());
    std::transform(sums.begin(), sums.end(), out + slice * rows * columns, [](double v) { return static_cast<T>(v); });
  });
}

template void project_spheres(const std::vector<Sphere>&, const Scan&, int64_t, int, int, Poll&, float*);
template void project_spheres(const std::vector<Sphere>&, const Scan&, int64_t, int, int, Poll&, double*);
template void fill_spheres(const std::vector<Sphere>&, int64_t, int64_t, int64_t, int, int, Poll&, float*);
template void fill_spheres(const std::vector<Sphere>&, int64_t, int64_t, int64_t, int, int, Poll&, double*);

}  // namespace tomolearn::simulation
