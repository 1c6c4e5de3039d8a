// Back-projection and projection, both gathers: no atomics, and the same sum every time. The weights are those of
// common/geometry.h, in full precision: texture units interpolate with 8 bits, which breaks the adjoint.
#pragma once
#include "../common/geometry.h"
#include "slices.cuh"

namespace tomolearn::cuda {

// ---------------------------------------------------------------------------------------------------- back-projection

struct BackView {  // of one angle; see View and Hat
  double per_column, per_row, origin, peak, slope;
};

struct BackTask {
  int rows, columns, n_angles, n_detectors;
  int pairs;               // the hat covers 2 * pairs detectors
  int pad;                 // zeros on either side of a packed row of detectors
  int64_t n_slices;
  int64_t views_of_group;  // 0: all slices share their views, else n_angles
};

constexpr int kTile = 16;        // pixels along an edge of a block
constexpr int kBackAngles = 64;  // whose constants are in shared memory at a time

// One angle as a tile sees it. Detectors count from the lowest one that the tile touches, found in double precision: t
// stays small and positive, so truncation is floor and float loses about 1e-6 of a detector.
template <class A, class C>
struct alignas(16) TileView {
  C corner, per_column, per_row;
  A peak, slope;
  int base;  // of the lowest detector, from the first packed row of the chunk
};

template <class A, class C>
TOMO_HD TileView<A, C> locate_tile(const BackTask& task, const BackView& v, int j, int column, int row) {
  const double t = v.origin + column * v.per_column + row * v.per_row;
  const double low = floor(t + (kTile - 1) * (fmin(0.0, v.per_column) + fmin(0.0, v.per_row)));
  // A tile beside the detector reads zeros.
  const double first = fmin(fmax(low, -double(task.pad - task.pairs)), double(task.n_detectors) + task.pairs);
  const int padded = task.n_detectors + 2 * task.pad;
  return {C(t - low), C(v.per_column), C(v.per_row), A(v.peak), A(v.slope), j * padded + task.pad + int(first)};
}

// Adds what one angle sees to the N sums of a pixel. WIDE: hats over more than two detectors, or narrow ones, of which a
// tile spans so many that C is double.
template <bool WIDE, class S, int N, class A, class C>
TOMO_HD void add_angle(A* sum, const Slices<S, N>* rows, const TileView<A, C>& v, C x, C y, int pairs) {
  C t = v.corner + x * v.per_column + y * v.per_row;
  t = t > 0 ? t : 0;  // rounding may leave -1e-7
  const int i = static_cast<int>(t);
  const A f = static_cast<A>(t - i);
  const Slices<S, N>* at = rows + v.base + i;
  if constexpr (!WIDE) {
    add_slices(sum, hat_weight(v.peak, v.slope, f), at[0]);
    add_slices(sum, hat_weight(v.peak, v.slope, 1 - f), at[1]);
  } else {
    TOMO_NO_UNROLL for (int q = 0; q < pairs; q++) {
      const int offset = 2 * q - (pairs - 1);
      add_slices(sum, hat_weight(v.peak, v.slope, f - offset), at[offset]);
      add_slices(sum, hat_weight(v.peak, v.slope, 1 - f + offset), at[offset + 1]);
    }
  }
}

// A thread owns a pixel of N slices, a block a tile of 16 x 16 pixels. packed: (groups, angles, padded detectors).
template <class S, int N, bool WIDE, class C>
TOMO_KERNEL(kTile * kTile)
backproject_slices(BackTask task, const BackView* views, const Slices<S, N>* packed, S* images) {
  using A = typename Sum<S>::type;
  using Constants = TileView<A, C>;
  TOMO_SHARED(Constants, shared, [kBackAngles]);
  const int number = threadIdx.y * kTile + threadIdx.x;
  const int wide = (task.columns + kTile - 1) / kTile, tall = (task.rows + kTile - 1) / kTile;
  const int64_t tiles = int64_t(wide) * tall, jobs = (task.n_slices + N - 1) / N * tiles;
  const int64_t padded = task.n_detectors + 2 * int64_t(task.pad);
  for (int64_t job = blockIdx.x; job < jobs; job += gridDim.x) {
    const int64_t group = job / tiles;
    const int column = int(job % tiles % wide) * kTile, row = int(job % tiles / wide) * kTile;
    A sum[N] = {};
    for (int a = 0; a < task.n_angles; a += kBackAngles) {
      const int n = task.n_angles - a < kBackAngles ? task.n_angles - a : kBackAngles;
      if (number < n)
        shared[number] = locate_tile<A, C>(task, views[group * task.views_of_group + a + number], number, column, row);
      __syncthreads();
      const Slices<S, N>* rows = packed + (group * task.n_angles + a) * padded;
      for (int j = 0; j < n; j++) add_angle<WIDE>(sum, rows, shared[j], C(threadIdx.x), C(threadIdx.y), task.pairs);
      __syncthreads();
    }
    const int x = column + threadIdx.x, y = row + threadIdx.y;
    if (x >= task.columns || y >= task.rows) continue;
    const int64_t image = int64_t(task.rows) * task.columns, left = task.n_slices - group * N;
    store_slices(images + group * N * image + int64_t(y) * task.columns + x, image, left < N ? int(left) : N, N, sum);
  }
}

// --------------------------------------------------------------------------------------------------------- projection

// Angles of one class lie together: those whose rays cross every row, then those whose rays cross every column.
struct RayView {
  double across, along, origin;  // t = origin + u across + r along: u across the ray, r the axis that is walked
  double peak, slope;            // of the hat over u
  int angle;
};

struct RayTask {
  int n_across, n_along;  // pixels
  int n_angles;           // of this class
  int n_detectors, pairs;
  int margin;             // zeros at both ends of a packed line
  int64_t n_slices, views_of_group;
  int64_t all_angles;     // of a row of the result
};

constexpr int kRays = 32, kRayAngles = 8;  // of a block

// Pixel coordinate across the ray, from line to line: 32.32 fixed point, whose error after thousands of lines is below
// 1e-6 pixels, and whose parts cost no conversion; in double precision computed anew for each line.
template <class A>
struct Walk;

template <>
struct Walk<float> {
  int64_t u, step;
};
TOMO_HD void start_walk(Walk<float>* walk, double u0, double shift, int line) {
  constexpr double two32 = 4294967296.0;
  walk->u = llrint((u0 + line * shift) * two32), walk->step = llrint(shift * two32);
}
TOMO_HD void next_line(Walk<float>* walk, int* pixel, float* fraction) {
  constexpr float two24 = 16777216.0f;
  *pixel = static_cast<int>(walk->u >> 32);
  *fraction = static_cast<float>(static_cast<int>(static_cast<uint32_t>(walk->u) >> 8)) * (1 / two24);
  walk->u += walk->step;
}

template <>
struct Walk<double> {
  double u0, shift;
  int line;
};
TOMO_HD void start_walk(Walk<double>* walk, double u0, double shift, int line) {
  walk->u0 = u0, walk->shift = shift, walk->line = line;
}
TOMO_HD void next_line(Walk<double>* walk, int* pixel, double* fraction) {
  const double u = walk->u0 + walk->line++ * walk->shift, low = floor(u);
  *pixel = static_cast<int>(low), *fraction = u - low;
}

struct Lines {
  int begin, end;
};

// Lines on which the ray can meet the image, and at most one more at either end.
TOMO_HD Lines lines_of_ray(const RayTask& task, double u0, double shift) {
  const double low = -double(task.pairs), high = task.n_across - 1.0 + task.pairs;
  if (shift == 0) return {0, u0 >= low && u0 <= high ? task.n_along : 0};
  const double one = (low - u0) / shift, other = (high - u0) / shift, n = task.n_along;
  return {static_cast<int>(fmax(0.0, fmin(n, floor(fmin(one, other))))),
          static_cast<int>(fmax(0.0, fmin(n, ceil(fmax(one, other)) + 1)))};
}

// A thread owns a ray of N slices, a block 32 neighbouring rays of 8 angles. packed: (groups, lines, padded pixels).
template <class S, int N, bool WIDE>
TOMO_KERNEL(kRays * kRayAngles)
project_slices(RayTask task, const RayView* views, const Slices<S, N>* packed, S* projections) {
  using A = typename Sum<S>::type;
  TOMO_SHARED(RayView, shared, [kRayAngles]);
  const int ranges = (task.n_detectors + kRays - 1) / kRays, angles = (task.n_angles + kRayAngles - 1) / kRayAngles;
  const int64_t tiles = int64_t(ranges) * angles, jobs = (task.n_slices + N - 1) / N * tiles;
  const int64_t pitch = task.n_across + 2 * int64_t(task.margin);
  for (int64_t job = blockIdx.x; job < jobs; job += gridDim.x) {
    const int64_t group = job / tiles;
    const int d = int(job % tiles % ranges) * kRays + threadIdx.x, a = int(job % tiles / ranges) * kRayAngles + threadIdx.y;
    if (threadIdx.x == 0 && a < task.n_angles) shared[threadIdx.y] = views[group * task.views_of_group + a];
    __syncthreads();
    if (d < task.n_detectors && a < task.n_angles) {
      const RayView& v = shared[threadIdx.y];
      const double shift = -v.along / v.across, u0 = (d - v.origin) / v.across;
      const Lines lines = lines_of_ray(task, u0, shift);
      const A peak = A(v.peak), slope = A(v.slope);
      const Slices<S, N>* line = packed + (group * task.n_along + lines.begin) * pitch + task.margin;
      Walk<A> walk;
      start_walk(&walk, u0, shift, lines.begin);
      A sum[N] = {};
      for (int r = lines.begin; r < lines.end; r++, line += pitch) {
        int i;
        A f;
        next_line(&walk, &i, &f);
        for (int q = 0; q < (WIDE ? task.pairs : 1); q++) {
          const int offset = WIDE ? 2 * q - (task.pairs - 1) : 0;
          add_slices(sum, hat_weight(peak, slope, f - offset), line[i + offset]);
          add_slices(sum, hat_weight(peak, slope, 1 - f + offset), line[i + offset + 1]);
        }
      }
      const int64_t sinogram = task.all_angles * task.n_detectors, left = task.n_slices - group * N;
      store_slices(projections + group * N * sinogram + int64_t(v.angle) * task.n_detectors + d, sinogram,
                   left < N ? int(left) : N, N, sum);
    }
    __syncthreads();
  }
}

}  // namespace tomolearn::cuda
