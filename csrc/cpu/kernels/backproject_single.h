// Back-projection of one slice. Lanes run along the image axis on which t moves slowest (at most 0.7072 / spacing a pixel), so
// a patch of 16 x 4 (8 x 2) pixels spans fewer detectors than a vector holds: one window serves the whole patch. The angles
// whose slow axis is the rows add to a transposed block, which is turned when the block is stored.
#pragma once
#include "lanes.h"

#if TOMO_VECTOR_BYTES >= 32
namespace tomolearn::TOMOLEARN_LEVEL {

class SingleBackprojector {
 public:
  SingleBackprojector(const Geometry& g, Footprint footprint) : g_(g), footprint_(footprint), views_(g) {
    for (int k = 0; k < g.n_angles; k++) {
      const double fast = fabs(views_.across[k]), slow = fabs(views_.along[k]);
      const Hat hat = make_hat(footprint, fast, g.spacing);
      if (hat_pairs(hat.peak, hat.slope) > 1) reach_ = false;
      if ((kLanes - 1) * slow + (kRows - 1) * fast > kLanes - 1 - 1e-3) gather_ = true;  // bins too narrow for one window
    }
    // A block must span fewer than 256 detectors in 9.23 fixed point, and hats narrow against a bin need more than 23 bits.
    if (g.spacing < 0.5 || (footprint == Footprint::line && g.spacing > 2)) reach_ = false;
    pad_ = int(ceil(kBlock * 1.4143 / g.spacing)) + kLanes + 8;
    padded_ = g.n_detectors + 2 * int64_t(pad_);
  }

  bool in_reach() const { return reach_; }

  void run(const float* projections, float* image) {
    Buffer<float> e(g_.n_angles * padded_), d(g_.n_angles * padded_);
    tabulate_projections(projections, e, d);
    const int wide = (g_.columns + kBlock - 1) / kBlock, high = (g_.rows + kBlock - 1) / kBlock;
    parallel(int64_t(wide) * high, [&](Jobs& jobs) {
      Buffer<float> sum(2 * kBlock * kBlock);  // columns as lanes, then rows as lanes
      Tables tables;
      for (int64_t job; jobs.take(&job);) {
        const int column = int(job % wide) * kBlock, row = int(job / wide) * kBlock;
        memset(sum, 0, 2 * kBlock * kBlock * sizeof(float));
        for (int k = 0; k < g_.n_angles;) {
          const bool steep = k < views_.n_steep;
          const int n = least(kAngles, (steep ? views_.n_steep : g_.n_angles) - k);
          sum_block(e, d, k, n, steep ? row : column, steep ? column : row, sum + (steep ? kBlock * kBlock : 0), tables);
          k += n;
        }
        for (int y = 0; y < least(kBlock, g_.rows - row); y++)
          for (int x = 0; x < least(kBlock, g_.columns - column); x++)
            image[int64_t(row + y) * g_.columns + column + x] = sum[y * kBlock + x] + sum[kBlock * kBlock + x * kBlock + y];
      }
    });
  }

 private:
  static constexpr int kBlock = 64, kAngles = 32;
  static constexpr int kRows = kLanes == 16 ? 4 : 2;  // of a patch

  struct Tables {
    float hat[3 * kAngles];  // slope, and the constants of the two hats as functions of u = 1 + f
    int step[kAngles * kRows * kLanes];  // t of the pixels of a patch relative to its lowest, fixed point
    int fraction[kAngles], window[kAngles];
    int corner[kAngles], slow[kAngles], fast[kAngles];  // t of the block's first patch and its steps
    int64_t base[kAngles];
  };

  // Interpolation reads (e, d); the two hats of the matched transpose read the samples and their right neighbours.
  void tabulate_projections(const float* projections, float* e, float* d) const {
    parallel(g_.n_angles, [&](Jobs& jobs) {
      for (int64_t k; jobs.take(&k);) {
        const float* s = projections + int64_t(views_.angle[k]) * g_.n_detectors;
        float *ek = e + k * padded_, *dk = d + k * padded_;
        memset(ek, 0, padded_ * sizeof(float)), memset(dk, 0, padded_ * sizeof(float));
        ek += pad_, dk += pad_;
        if (footprint_ == Footprint::pixel) {
          tabulate_line(s, g_.n_detectors, ek, dk);
        } else {
          memcpy(ek, s, g_.n_detectors * sizeof(float));
          memcpy(dk - 1, s, g_.n_detectors * sizeof(float));
        }
      }
    });
  }

  // u: the axis of the lanes, v: the other; (u0, v0) is the block's first pixel.
  void sum_block(const float* e, const float* d, int first, int n, int u0, int v0, float* sum, Tables& tables) const {
    for (int j = 0; j < n; j++) locate_block(first + j, j, u0, v0, tables);
    for (int v = 0; v < kBlock; v += kRows)
      for (int u = 0; u < kBlock; u += kLanes) {
        for (int j = 0; j < n; j++) {
          const int t = most(tables.corner[j] + u * tables.slow[j] + v * tables.fast[j], 0);
          tables.fraction[j] = t & 0x7fffff;
          tables.window[j] = t >> 23;
        }
        float* out = sum + v * kBlock + u;
        if (footprint_ == Footprint::pixel)
          gather_ ? sum_patch<false, true>(out, n, e, d, tables) : sum_patch<false, false>(out, n, e, d, tables);
        else
          gather_ ? sum_patch<true, true>(out, n, e, d, tables) : sum_patch<true, false>(out, n, e, d, tables);
      }
  }

  void locate_block(int k, int j, int u0, int v0, Tables& tables) const {
    const double slow = views_.along[k], fast = views_.across[k], t = views_.origin[k] + u0 * slow + v0 * fast;
    const double patch = least(0.0, (kLanes - 1) * slow) + least(0.0, (kRows - 1) * fast);  // its lowest, from its first
    const double low = floor(t + least(0.0, (kBlock - 1) * slow) + least(0.0, (kBlock - 1) * fast) - 1e-3);
    tables.slow[j] = (int)lrint(slow * kFixed), tables.fast[j] = (int)lrint(fast * kFixed);
    tables.corner[j] = (int)lrint((t + patch - low) * kFixed);
    const int first = (int)lrint(patch * kFixed);
    for (int r = 0; r < kRows; r++)
      for (int q = 0; q < kLanes; q++)
        tables.step[(j * kRows + r) * kLanes + q] = q * tables.slow[j] + r * tables.fast[j] - first;
    tables.base[j] = k * padded_ + pad_ + int64_t(least(most(low, -double(pad_)), double(g_.n_detectors)));
    const Hat hat = make_hat(footprint_, fabs(fast), g_.spacing);
    tables.hat[3 * j] = float(hat.slope);
    tables.hat[3 * j + 1] = float(hat.peak + hat.slope);
    tables.hat[3 * j + 2] = float(hat.peak - 2 * hat.slope);
  }

  template <bool HATS, bool GATHER>
  static TOMO_INLINE_MEMBER void sum_patch(float* sum, int n, const float* e, const float* d, const Tables& tables) {
    Floats s[kRows];
    TOMO_UNROLL for (int r = 0; r < kRows; r++) s[r] = load(sum + r * kBlock);
    for (int j = 0; j < n; j++) {
      const Ints t0 = all(tables.fraction[j]);
      const float *pe = e + tables.base[j] + tables.window[j], *pd = d + tables.base[j] + tables.window[j];
      const int* step = tables.step + j * kRows * kLanes;
      TOMO_UNROLL for (int r = 0; r < kRows; r++) {
        const Ints t = add(t0, load(step + r * kLanes)), i = whole(t);
        const Floats u = one_plus_fraction(t);
        const Floats a = GATHER ? pick_any(i, pe) : pick_one(i, pe), b = GATHER ? pick_any(i, pd) : pick_one(i, pd);
        if (HATS) {
          const Floats slope = all(tables.hat[3 * j]);
          const Floats w0 = positive(subtract_product(all(tables.hat[3 * j + 1]), slope, u));
          const Floats w1 = positive(multiply_add(slope, u, all(tables.hat[3 * j + 2])));
          s[r] = multiply_add(w1, b, multiply_add(w0, a, s[r]));
        } else {
          s[r] = multiply_add(u, b, s[r] + a);
        }
      }
    }
    TOMO_UNROLL for (int r = 0; r < kRows; r++) store(sum + r * kBlock, s[r]);
  }

  const Geometry& g_;
  const Footprint footprint_;
  SortedViews views_;
  bool reach_ = true, gather_ = false;
  int pad_ = 0;
  int64_t padded_ = 0;
};

static bool backproject_single(const Geometry& g, Footprint footprint, const float* projections, float* image) {
  SingleBackprojector kernel(g, footprint);
  if (!kernel.in_reach()) return false;
  kernel.run(projections, image);
  return true;
}

}  // namespace tomolearn::TOMOLEARN_LEVEL
#endif
