// Back-projection and projection, both gathers: no atomics, and the same sum every time. The weights are those of
// common/geometry.h, in full precision: texture units interpolate with 8 bits, which breaks the adjoint.
#pragma once
#include "../common/geometry.h"
#include "slices.cuh"

namespace tomolearn::cuda {

// Adds N slices of the 2 * pairs grid points that a hat covers. f, g: distances from the grid point at or below its middle,
// `at`, and from the next one, in units of a `grid` step each. WIDE: more than two points.
template <bool WIDE, int LANES, class S, int N, class A>
TOMO_HD void add_hat(A* sum, const Slices<S, N>* at, A peak, A slope, A f, A g, A grid, int pairs) {
  if constexpr (!WIDE) {
    add_slices(sum, hat_weight(peak, slope, f), at);
    add_slices(sum, hat_weight(peak, slope, g), at + LANES);
  } else {
    TOMO_NO_UNROLL for (int q = 0; q < pairs; q++) {
      const int offset = 2 * q - (pairs - 1);
      add_slices(sum, hat_weight(peak, slope, f - offset * grid), at + offset * LANES);
      add_slices(sum, hat_weight(peak, slope, g + offset * grid), at + (offset + 1) * LANES);
    }
  }
}

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
constexpr int kBackThreads = 256;
constexpr int kBackAngles = 64;  // whose constants are in shared memory at a time

// Detector coordinates within a tile are double or, where sums are float, 6.26 fixed point: it errs by less than 1e-6 of a
// detector, and its parts cost a shift each. Distances from the detectors on either side are counted in 1 / kGrid: unsigned,
// so that the compiler need not take their absolute value.
template <class C>
constexpr double kGrid = 1;
template <>
constexpr float kGrid<uint32_t> = 4294967296.0f;

TOMO_HD void set_coordinate(double t, double* to) { *to = t; }
TOMO_HD int whole(double t) { return static_cast<int>(t); }
TOMO_HD double below(double t) { return t - whole(t); }
TOMO_HD double above(double t) { return 1 - below(t); }

TOMO_HD void set_coordinate(double t, uint32_t* to) { *to = static_cast<uint32_t>(llrint(t * 67108864.0)); }
TOMO_HD int whole(uint32_t t) { return static_cast<int>(t >> 26); }
TOMO_HD float below(uint32_t t) { return static_cast<float>(t << 6); }
TOMO_HD float above(uint32_t t) { return static_cast<float>(~(t << 6)); }

// One angle as a tile sees it. Detectors count from one just below the lowest that the tile touches, found in double
// precision, so that no rounding makes t negative.
template <class A, class C>
struct alignas(16) TileView {
  C corner, per_column, per_row;
  int base;  // of the lowest detector, from the first packed row of the chunk
  A peak, slope;
};

template <class A, class C>
TOMO_HD TileView<A, C> locate_tile(const BackTask& task, const BackView& v, int j, int column, int row) {
  const double t = v.origin + column * v.per_column + row * v.per_row;
  const double low = floor(t + (kTile - 1) * (fmin(0.0, v.per_column) + fmin(0.0, v.per_row)) - 1e-3);
  // A tile beside the detector reads zeros.
  const double first = fmin(fmax(low, -double(task.pad - task.pairs)), double(task.n_detectors) + task.pairs);
  const int padded = task.n_detectors + 2 * task.pad;
  TileView<A, C> view{C(), C(), C(), j * padded + task.pad + int(first), A(v.peak), A(v.slope / kGrid<C>)};
  set_coordinate(t - low, &view.corner);
  set_coordinate(v.per_column, &view.per_column), set_coordinate(v.per_row, &view.per_row);
  return view;
}

// Which pixels of a tile a thread owns: LANES of them, every kAcross-th of a row and every kDown-th of a column. They share
// an angle's constants and most of the arithmetic of t.
template <int LANES>
struct Share {
  static constexpr int kColumns = LANES < 4 ? LANES : 4, kRows = LANES / kColumns;
  static constexpr int kAcross = kTile / kColumns, kDown = kTile / kRows;
};

// A block works on a tile of 16 x 16 pixels, LANES * N slices deep. WIDE: hats over more than two detectors, or narrow ones,
// of which a tile spans so many that C is double. packed: (groups, angles, padded detectors, LANES).
template <class S, int N, int LANES, bool WIDE, class C>
TOMO_KERNEL(kBackThreads)
backproject_slices(BackTask task, const BackView* views, const Slices<S, N>* packed, S* images) {
  using A = typename Sum<S>::type;
  using Constants = TileView<A, C>;
  using Own = Share<LANES>;
  TOMO_SHARED(Constants, shared, [kBackAngles]);
  const int number = threadIdx.x, lane = number % LANES, place = number / LANES;
  const int left = place % Own::kAcross, top = place / Own::kAcross;
  const unsigned wide = (task.columns + kTile - 1) / kTile, tiles = wide * ((task.rows + kTile - 1) / kTile);
  const unsigned jobs = unsigned((task.n_slices + N * LANES - 1) / (N * LANES)) * tiles;
  const int64_t padded = task.n_detectors + 2 * int64_t(task.pad);
  for (unsigned job = blockIdx.x; job < jobs; job += gridDim.x) {
    const int64_t group = job / tiles;
    const int column = int(job % tiles % wide) * kTile, row = int(job % tiles / wide) * kTile;
    const Slices<S, N>* rows = packed + group * task.n_angles * padded * LANES + lane;
    const BackView* own = views + group * task.views_of_group;
    A sum[LANES][N] = {};
    for (int a = 0; a < task.n_angles; a += kBackAngles, rows += kBackAngles * padded * LANES) {
      const int n = task.n_angles - a < kBackAngles ? task.n_angles - a : kBackAngles;
      if (number < n)
        shared[number] = locate_tile<A, C>(task, own[a + number], number, column, row);
      __syncthreads();
      TOMO_NO_UNROLL for (int j = 0; j < n; j++) {  // unrolled by its pixels: more would spill
        const Constants v = shared[j];
        const C across = C(Own::kAcross) * v.per_column, down = C(Own::kDown) * v.per_row;
        C first = v.corner + C(left) * v.per_column + C(top) * v.per_row;
        for (int y = 0; y < Own::kRows; y++, first += down) {
          C t = first;
          for (int x = 0; x < Own::kColumns; x++, t += across)
            add_hat<WIDE, LANES>(sum[y * Own::kColumns + x], rows + uint64_t(uint32_t(v.base + whole(t))) * LANES, v.peak,
                                 v.slope, A(below(t)), A(above(t)), A(kGrid<C>), task.pairs);
        }
      }
      __syncthreads();
    }
    const int64_t image = int64_t(task.rows) * task.columns, slice = (group * LANES + lane) * N, rest = task.n_slices - slice;
    for (int p = 0; p < LANES; p++) {
      const int x = column + left + p % Own::kColumns * Own::kAcross, y = row + top + p / Own::kColumns * Own::kDown;
      if (x >= task.columns || y >= task.rows) continue;
      store_slices(images + slice * image + int64_t(y) * task.columns + x, image, rest, N, sum[p]);
    }
  }
}

// --------------------------------------------------------------------------------------------------------- projection

// Angles of one class lie together: those whose rays cross every row, then those whose rays cross every column.
struct RayView {
  double first, per_ray;  // u = first + d per_ray + r shift: u across the ray, r the axis that is walked
  double shift, inverse;  // 1 / shift, or 0
  double peak, slope;     // of the hat over u
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

constexpr int kRayThreads = 256, kRayAngles = 4;  // of a block
template <int LANES>
constexpr int kRays = kRayThreads / kRayAngles / LANES;  // neighbours, of each of the angles
constexpr int kRayLines = 16;                            // between barriers

// Pixel coordinate across the ray, from line to line: 32.32 fixed point, whose error after thousands of lines is below
// 1e-6 pixels, and whose parts cost no conversion; in double precision computed anew for each line.
template <class A>
struct Walk;

template <>
struct Walk<float> {
  static constexpr float kGrid = 4294967296.0f;
  int64_t u, step;
};
TOMO_HD void start_walk(Walk<float>* walk, double u0, double shift, int line) {
  constexpr double two32 = 4294967296.0;
  walk->u = llrint((u0 + line * shift) * two32), walk->step = llrint(shift * two32);
}
TOMO_HD void next_line(Walk<float>* walk, int* pixel, float* below, float* above) {
  *pixel = static_cast<int>(walk->u >> 32);
  *below = static_cast<float>(static_cast<uint32_t>(walk->u)), *above = static_cast<float>(~static_cast<uint32_t>(walk->u));
  walk->u += walk->step;
}

template <>
struct Walk<double> {
  static constexpr double kGrid = 1;
  double u0, shift;
  int line;
};
TOMO_HD void start_walk(Walk<double>* walk, double u0, double shift, int line) {
  walk->u0 = u0, walk->shift = shift, walk->line = line;
}
TOMO_HD void next_line(Walk<double>* walk, int* pixel, double* below, double* above) {
  const double u = walk->u0 + walk->line++ * walk->shift, low = floor(u);
  *pixel = static_cast<int>(low), *below = u - low, *above = 1 - *below;
}

struct Lines {
  int begin, end;
};

// Lines on which the ray can meet the image, and at most one more at either end.
TOMO_HD Lines lines_of_ray(const RayTask& task, const RayView& v, double u0) {
  const double low = -double(task.pairs), high = task.n_across - 1.0 + task.pairs;
  if (v.shift == 0) return {0, u0 >= low && u0 <= high ? task.n_along : 0};
  const double one = (low - u0) * v.inverse, other = (high - u0) * v.inverse, n = task.n_along;
  return {static_cast<int>(fmax(0.0, fmin(n, floor(fmin(one, other))))),
          static_cast<int>(fmax(0.0, fmin(n, ceil(fmax(one, other)) + 1)))};
}

// A thread owns a ray of N slices, a block neighbouring rays of 4 angles. Its warps wait for each other every few lines of
// the image, so that they find in the cache what another has loaded. packed: (groups, lines, padded pixels, LANES).
template <class S, int N, int LANES, bool WIDE>
TOMO_KERNEL(kRayThreads)
project_slices(RayTask task, const RayView* views, const Slices<S, N>* packed, S* projections) {
  using A = typename Sum<S>::type;
  const int lane = threadIdx.x % LANES, ray = threadIdx.x / LANES % kRays<LANES>;
  const int angle = threadIdx.x / (LANES * kRays<LANES>);
  const unsigned ranges = (task.n_detectors + kRays<LANES> - 1) / kRays<LANES>;
  const unsigned tiles = ranges * ((task.n_angles + kRayAngles - 1) / kRayAngles);
  const unsigned jobs = unsigned((task.n_slices + N * LANES - 1) / (N * LANES)) * tiles;
  const int64_t pitch = (task.n_across + 2 * int64_t(task.margin)) * LANES, sinogram = task.all_angles * task.n_detectors;
  for (unsigned job = blockIdx.x; job < jobs; job += gridDim.x) {
    const int64_t group = job / tiles;
    const int d = int(job % tiles % ranges) * kRays<LANES> + ray, a = int(job % tiles / ranges) * kRayAngles + angle;
    const bool real = d < task.n_detectors && a < task.n_angles;
    const RayView v = views[group * task.views_of_group + (real ? a : 0)];
    const double u0 = v.first + d * v.per_ray;
    const Lines lines = real ? lines_of_ray(task, v, u0) : Lines{0, 0};
    constexpr A grid = Walk<A>::kGrid;
    const A peak = A(v.peak), slope = A(v.slope / grid);
    const Slices<S, N>* line = packed + (group * task.n_along + lines.begin) * pitch + task.margin * LANES + lane;
    const int64_t slice = (group * LANES + lane) * N, rest = task.n_slices - slice;
    S* to = projections + slice * sinogram + int64_t(v.angle) * task.n_detectors + d;
    Walk<A> walk;
    start_walk(&walk, u0, v.shift, lines.begin);
    A sum[N] = {};
    for (int r = lines.begin, stop = kRayLines; stop < task.n_along + kRayLines; stop += kRayLines) {
      for (const int end = stop < lines.end ? stop : lines.end; r < end; r++, line += pitch) {
        int i;
        A below, above;
        next_line(&walk, &i, &below, &above);
        add_hat<WIDE, LANES>(sum, line + int64_t(i) * LANES, peak, slope, below, above, grid, task.pairs);
      }
      __syncthreads();
    }
    if (real) store_slices(to, sinogram, rest, N, sum);
  }
}

}  // namespace tomolearn::cuda
