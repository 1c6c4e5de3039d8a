// Packed back-projection: image[p] = sum over angles of sum over d of hat(t(p) - d) projections[angle, d].
//
// A job is a square block of pixels in a private buffer that fits L2 and is unpacked straight into the natural layout:
// there is no packed image. Inside: blocks of 64 angles (their strip of the sinogram stays in L2) > tiles of 16 x 16
// pixels > blocks of a few angles (their strip stays in L1) > patches of 16 pixels. Coordinates are relative to the lowest
// detector of a tile, found in double precision: in float, t then stays small, truncation is floor, and the error is about
// 1e-6 of a detector. Zero padding as wide as a tile makes bounds tests needless for any centre and detector.
#pragma once
#include "gather.h"

namespace tomolearn::TOMOLEARN_LEVEL {

template <class T, int Z>
class PackedBackprojector {
 public:
  PackedBackprojector(const Geometry& g, Footprint footprint)
      : g_(g), footprint_(footprint), view_(4 * int64_t(g.n_angles)), peak_(g.n_angles), slope_(g.n_angles) {
    for (int a = 0; a < g.n_angles; a++) {
      const View v = make_view(g, a);
      const double across = most(fabs(v.per_column), fabs(v.per_row));
      const Hat hat = make_hat(footprint, across, g.spacing);
      view_[3 * a] = v.per_column, view_[3 * a + 1] = v.per_row, view_[3 * a + 2] = v.origin;
      peak_[a] = T(hat.peak), slope_[a] = T(hat.slope);
      pairs_ = most(pairs_, hat_pairs(hat.peak, hat.slope));
    }
    pad_ = int(ceil((kTile - 1) * 1.4143 / g.spacing)) + 4 + 2 * pairs_;
    padded_ = g.n_detectors + 2 * int64_t(pad_);
    // Few pixels make few blocks: smaller ones then keep all threads busy. The sums do not depend on it.
    while (block_ > kTile && blocks(g.columns) * blocks(g.rows) < 32) block_ /= 2;
  }

  void run(const T* projections, T* image, int n_slices) {
    Buffer<T> packed(g_.n_angles * padded_ * Z);
    pack_projections(projections, n_slices, packed);
    const int64_t wide = blocks(g_.columns);
    parallel(wide * blocks(g_.rows), [&](Jobs& jobs) {
      Buffer<T> sum(int64_t(block_) * block_ * Z);
      Tables tables(kAngles * pairs_);
      for (int64_t job; jobs.take(&job);) {
        const int column = int(job % wide) * block_, row = int(job / wide) * block_;
        memset(sum, 0, sizeof(T) * block_ * block_ * Z);
        sum_block(packed, column, row, sum, tables);
        for (int y = 0; y < least(block_, g_.rows - row); y++)
          unpack<T, Z>(sum + int64_t(y) * block_ * Z, n_slices, least(block_, g_.columns - column),
                       image + int64_t(row + y) * g_.columns + column, int64_t(g_.rows) * g_.columns);
      }
    });
  }

 private:
  static constexpr int kTile = 16;
  static constexpr int kAngles = Z > 16 ? 8 : 16;
  static constexpr int kAnglesInCache = 64;
  static constexpr int kOutputs = outputs_at_once<T, Z>();
  static constexpr int kPatch = kOutputs > 4 ? 8 : 4;  // a patch is kPatch x (16 / kPatch) pixels: compact, so few detectors

  struct Tables {
    Buffer<int> offset;
    Buffer<T> w0, w1;
    double corner[kAngles];        // t of the tile's first pixel, relative to the tile's lowest detector
    T position[kAngles * kGroup];  // t of the 16 pixels of a patch at the tile's first pixel, likewise
    T column_step[kAngles], row_step[kAngles];
    int base[kAngles];  // offset of the tile's lowest detector
    explicit Tables(int rows) : offset(rows * kGroup), w0(rows * kGroup), w1(rows * kGroup) {}
  };

  int64_t blocks(int n) const { return (n + block_ - 1) / block_; }

  void pack_projections(const T* projections, int n_slices, T* packed) const {
    parallel(g_.n_angles, [&](Jobs& jobs) {
      for (int64_t a; jobs.take(&a);) {
        T* row = packed + a * padded_ * Z;
        memset(row, 0, sizeof(T) * pad_ * Z);
        memset(row + (pad_ + g_.n_detectors) * int64_t(Z), 0, sizeof(T) * pad_ * Z);
        pack<T, Z>(projections + a * g_.n_detectors, int64_t(g_.n_angles) * g_.n_detectors, n_slices, g_.n_detectors,
                   row + pad_ * int64_t(Z));
      }
    });
  }

  void sum_block(const T* packed, int column, int row, T* sum, Tables& tables) const {
    const int height = least(block_, g_.rows - row), width = least(block_, g_.columns - column);
    for (int a2 = 0; a2 < g_.n_angles; a2 += kAnglesInCache)
      for (int y = 0; y < height; y += kTile)
        for (int x = 0; x < width; x += kTile)
          for (int a = a2; a < least(g_.n_angles, a2 + kAnglesInCache); a += kAngles)
            sum_tile(packed, a, column + x, row + y, sum + (int64_t(y) * block_ + x) * Z, tables);
  }

  void sum_tile(const T* packed, int first_angle, int column, int row, T* sum, Tables& tables) const {
    const int n = least(kAngles, g_.n_angles - first_angle);
    for (int j = 0; j < n; j++) locate_tile(first_angle + j, j, column, row, tables);
    const T* source = packed + first_angle * padded_ * Z;
    for (int y = 0; y < kTile; y += kGroup / kPatch)
      for (int x = 0; x < kTile; x += kPatch) {
        if (pairs_ > 1 || g_.spacing < 0.7)
          tabulate_wide(first_angle, n, x, y, tables);
        else if (footprint_ == Footprint::pixel)
          tabulate<true>(first_angle, n, x, y, tables);
        else
          tabulate<false>(first_angle, n, x, y, tables);
        T* out = sum + (int64_t(y) * block_ + x) * Z;
        for (int k = 0; k < kGroup; k += kOutputs)
          gather<T, Z, kOutputs>(out + ((k / kPatch) * block_ + k % kPatch) * int64_t(Z), kOutputs, source, Z,
                                 tables.offset + k, tables.w0 + k, tables.w1 + k, n * pairs_);
      }
  }

  void locate_tile(int angle, int j, int column, int row, Tables& tables) const {
    const double cx = view_[3 * angle], cy = view_[3 * angle + 1], t = view_[3 * angle + 2] + column * cx + row * cy;
    double low = floor(t + least(0.0, (kTile - 1) * cx) + least(0.0, (kTile - 1) * cy));
    tables.corner[j] = t - low;
    tables.column_step[j] = T(cx), tables.row_step[j] = T(cy);
    for (int k = 0; k < kGroup; k++)
      tables.position[j * kGroup + k] = T(tables.corner[j]) + (k % kPatch) * T(cx) + (k / kPatch) * T(cy);
    low = least(most(low, -double(pad_ - pairs_)), double(g_.n_detectors + pairs_));  // a tile beside the detector reads zeros
    tables.base[j] = int((j * padded_ + pad_ + int64_t(low)) * Z);
  }

  template <bool INTERPOLATE>
  TOMO_INLINE_MEMBER void tabulate(int first_angle, int n, int x, int y, Tables& tables) const {
    for (int j = 0; j < n; j++) {
      const int at = j * kGroup;
      table_row<T, INTERPOLATE>(tables.position + at, y * tables.row_step[j] + x * tables.column_step[j],
                                peak_[first_angle + j], slope_[first_angle + j], tables.base[j], nullptr, Z,
                                tables.offset + at, tables.w0 + at, tables.w1 + at);
    }
  }

  // Narrow detector bins: a tile spans so many that float would lose digits, so each patch has an origin of its own.
  void tabulate_wide(int first_angle, int n, int x, int y, Tables& tables) const {
    for (int j = 0; j < n; j++) {
      const double cx = view_[3 * (first_angle + j)], cy = view_[3 * (first_angle + j) + 1];
      const double t = tables.corner[j] + x * cx + y * cy;
      const double low = floor(t + least(0.0, (kPatch - 1) * cx) + least(0.0, (kGroup / kPatch - 1) * cy));
      T position[kGroup];
      for (int k = 0; k < kGroup; k++) position[k] = T(t - low + (k % kPatch) * cx + (k / kPatch) * cy);
      const int at = j * pairs_ * kGroup;
      wide_table_rows<T>(position, T(0), peak_[first_angle + j], slope_[first_angle + j], pairs_,
                         tables.base[j] + int(low) * Z, nullptr, Z, tables.offset + at, tables.w0 + at, tables.w1 + at);
    }
  }

  const Geometry& g_;
  const Footprint footprint_;
  Buffer<double> view_;  // (n_angles, 3): per column, per row, origin
  Buffer<T> peak_, slope_;
  int pairs_ = 1, pad_ = 0, block_ = 64;
  int64_t padded_ = 0;
};

template <class T, int Z>
void backproject_packed(const Geometry& g, Footprint footprint, const T* projections, T* image, int n_slices) {
  PackedBackprojector<T, Z>(g, footprint).run(projections, image, n_slices);
}

}  // namespace tomolearn::TOMOLEARN_LEVEL
