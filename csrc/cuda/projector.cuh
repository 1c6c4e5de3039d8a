// From a geometry to launches: tables of the angles, memory for packed slices, grids. On raw pointers, so that the tests
// run it under the emulator.
#pragma once
#include <algorithm>
#include <type_traits>
#include <vector>

#include "launching.cuh"
#include "projector_kernels.cuh"

namespace tomolearn::cuda {

template <class S>
struct Request {
  Geometry g;         // g.center: (n_centers, n_angles)
  int64_t n_centers;  // 1 or n_slices
  Footprint footprint;
  const S* in;
  S* out;
  int64_t n_slices;  // no other dimension is empty
};

// Groups to pack at a time: the packed copy stays small beside a large stack, and the jobs of a launch, tiles of a group or
// lines of its packed copy, have 31 bits. (One group of more would be an image of terabytes.)
inline int64_t groups_at_once(int64_t groups, int64_t group_bytes, int64_t tiles) {
  constexpr int64_t kBytes = int64_t(256) << 20, kJobs = 2147483647;
  return std::max<int64_t>(1, std::min({groups, kBytes / group_bytes, kJobs / tiles}));
}

template <int LANES, class S, int N, class Device>
void pack(Device& device, const Packing& packing, const S* in, Slices<S, N>* packed) {
  const int64_t lines = packing.lines + 2 * int64_t(packing.line_margin);
  TOMO_LAUNCH(grid_for(device, (packing.n_slices + N * LANES - 1) / (N * LANES) * lines), dim3(kPackThreads), 0,
              device.stream(), pack_slices<S, N, LANES>)(packing, in, packed);
  device.check_launch();
}

// Memory for the packed slices, of which `step` fit at a time.
template <class S, int N, int LANES>
struct Packed {
  int64_t step;
  Slices<S, N>* data;
};

template <class S, int N, int LANES, class Device>
Packed<S, N, LANES> allocate_packed(Device& device, int64_t n_slices, int64_t group_size, int64_t tiles) {
  constexpr int kGroup = N * LANES;
  const int64_t bytes = group_size * kGroup * int64_t(sizeof(S));
  const int64_t groups = groups_at_once((n_slices + kGroup - 1) / kGroup, bytes, tiles);
  return {groups * kGroup, static_cast<Slices<S, N>*>(device.allocate(groups * bytes))};
}

// The geometry of one of the request's axes of rotation.
template <class S>
Geometry geometry_of(const Request<S>& r, int64_t center) {
  Geometry g = r.g;
  g.center += center * g.n_angles;
  return g;
}

// Detectors in pairs that the widest hat of the geometry covers.
template <class S>
int back_pairs(const Request<S>& r) {
  int pairs = 1;
  for (int a = 0; a < r.g.n_angles; a++) {
    const View v = make_view(r.g, a);
    const Hat hat = make_hat(r.footprint, std::max(std::fabs(v.per_column), std::fabs(v.per_row)), r.g.spacing);
    pairs = std::max(pairs, hat_pairs(hat.peak, hat.slope));
  }
  return pairs;
}

template <class S, int N, int LANES, bool WIDE, class Device>
void backproject_all(Device& device, const Request<S>& r) {
  using C = std::conditional_t<WIDE || sizeof(S) == 8, double, uint32_t>;
  const Geometry& g = r.g;
  std::vector<BackView> views;
  BackTask task{g.rows, g.columns, g.n_angles, g.n_detectors, back_pairs(r), 0, 0, r.n_centers == 1 ? 0 : g.n_angles};
  for (int64_t c = 0; c < r.n_centers; c++) {
    const Geometry own = geometry_of(r, c);
    for (int a = 0; a < g.n_angles; a++) {
      const View v = make_view(own, a);
      const Hat hat = make_hat(r.footprint, std::max(std::fabs(v.per_column), std::fabs(v.per_row)), g.spacing);
      views.push_back({v.per_column, v.per_row, v.origin, hat.peak, hat.slope});
    }
  }
  task.pad = int(std::ceil((kTile - 1) * 1.4143 / g.spacing)) + 4 + 2 * task.pairs;
  const int padded = g.n_detectors + 2 * task.pad;
  const int64_t group_size = int64_t(g.n_angles) * padded, sinogram = int64_t(g.n_angles) * g.n_detectors;
  const BackView* table = upload(device, views.data(), views.size());
  const int64_t tiles = (int64_t(g.columns) + kTile - 1) / kTile * ((g.rows + kTile - 1) / kTile);
  const auto packed = allocate_packed<S, N, LANES>(device, r.n_slices, group_size, tiles);
  for (int64_t z = 0; z < r.n_slices; z += packed.step) {
    task.n_slices = std::min(packed.step, r.n_slices - z);
    const Packing packing{task.n_slices, g.n_angles, g.n_detectors, 0, task.pad, padded, 1, group_size};
    pack<LANES>(device, packing, r.in + z * sinogram, packed.data);
    TOMO_LAUNCH(grid_for(device, (task.n_slices + N * LANES - 1) / (N * LANES) * tiles), dim3(kBackThreads), 0,
                device.stream(), backproject_slices<S, N, LANES, WIDE, C>)
    (task, table + z * task.views_of_group, packed.data, r.out + z * g.rows * g.columns);
    device.check_launch();
  }
}

// The rays of one class: `rows`: those that cross every row.
template <class S, int N, int LANES, class Device>
void project_class(Device& device, const Request<S>& r, bool rows) {
  const Geometry& g = r.g;
  std::vector<RayView> views;
  RayTask task{rows ? g.columns : g.rows, rows ? g.rows : g.columns, 0, g.n_detectors, 1, 0, 0, 0, g.n_angles};
  for (int64_t c = 0; c < r.n_centers; c++) {
    const Geometry own = geometry_of(r, c);
    for (int a = 0; a < g.n_angles; a++) {
      const View v = make_view(own, a);
      if (crosses_rows(v) != rows) continue;
      const double across = rows ? v.per_column : v.per_row, along = rows ? v.per_row : v.per_column;
      const Hat hat = make_hat(r.footprint, std::fabs(across), g.spacing);
      const double slope = hat.slope * std::fabs(across);
      task.pairs = std::max(task.pairs, hat_pairs(hat.peak, slope));
      views.push_back({-v.origin / across, 1 / across, -along / across, along == 0 ? 0 : -across / along, hat.peak, slope, a});
    }
  }
  if (views.empty()) return;
  task.n_angles = int(int64_t(views.size()) / r.n_centers);
  task.views_of_group = r.n_centers == 1 ? 0 : task.n_angles;
  task.margin = 2 * task.pairs + 4;
  const int64_t pitch = task.n_across + 2 * int64_t(task.margin), group_size = pitch * task.n_along;
  const RayView* table = upload(device, views.data(), views.size());
  const int64_t ranges = (int64_t(g.n_detectors) + kRays<LANES> - 1) / kRays<LANES>;
  const int64_t tiles = ranges * ((task.n_angles + kRayAngles - 1) / kRayAngles);
  const auto packed = allocate_packed<S, N, LANES>(device, r.n_slices, group_size, tiles);
  for (int64_t z = 0; z < r.n_slices; z += packed.step) {
    task.n_slices = std::min(packed.step, r.n_slices - z);
    pack<LANES>(device,
                {task.n_slices, g.rows, g.columns, rows ? 0 : task.margin, rows ? task.margin : 0, rows ? pitch : 1,
                 rows ? 1 : pitch, group_size},
                r.in + z * g.rows * g.columns, packed.data);
    const dim3 grid = grid_for(device, (task.n_slices + N * LANES - 1) / (N * LANES) * tiles), block(kRayThreads);
    const RayView* own = table + z * task.views_of_group;
    S* projections = r.out + z * g.n_angles * g.n_detectors;
    if (task.pairs > 1)
      TOMO_LAUNCH(grid, block, 0, device.stream(), project_slices<S, N, LANES, true>)(task, own, packed.data, projections);
    else
      TOMO_LAUNCH(grid, block, 0, device.stream(), project_slices<S, N, LANES, false>)(task, own, packed.data, projections);
    device.check_launch();
  }
}

// All lanes of a pixel work on full groups and on a rest of more than half of one; a smaller rest has one lane, a lone slice
// and slices with geometries of their own have a thread each.
template <class S, class F>
void split_slices(Request<S> r, int64_t in_size, int64_t out_size, const F& run) {
  constexpr int kGroup = kLanes<S> * kTogether<S>;
  int64_t rest = r.n_slices;
  const auto take = [&]<int N, int LANES>(int64_t n) {
    if (n == 0) return;
    r.n_slices = n;
    run.template operator()<N, LANES>(r);
    r.in += n * in_size, r.out += n * out_size, rest -= n;
  };
  if (r.n_centers == 1) {
    take.template operator()<kTogether<S>, kLanes<S>>(rest % kGroup > kGroup / 2 ? rest : rest - rest % kGroup);
    take.template operator()<kTogether<S>, 1>(rest == 1 ? 0 : rest);
  }
  take.template operator()<1, 1>(rest);
}

template <class S, class Device>
void launch_backproject(Device& device, const Request<S>& r) {
  const int64_t image = int64_t(r.g.rows) * r.g.columns, sinogram = int64_t(r.g.n_angles) * r.g.n_detectors;
  // Fixed-point coordinates have room for 64 detectors, and err too much where a hat is steep beside a pixel.
  const bool wide = back_pairs(r) > 1 || r.g.spacing < 0.7 || r.g.spacing > 4;
  split_slices(r, sinogram, image, [&]<int N, int LANES>(const Request<S>& part) {
    if (wide) backproject_all<S, N, 1, true>(device, part);
    else backproject_all<S, N, LANES, false>(device, part);
  });
}

template <class S, class Device>
void launch_project(Device& device, const Request<S>& r) {
  const int64_t image = int64_t(r.g.rows) * r.g.columns, sinogram = int64_t(r.g.n_angles) * r.g.n_detectors;
  split_slices(r, image, sinogram, [&]<int N, int LANES>(const Request<S>& part) {
    for (bool rows : {true, false}) project_class<S, N, LANES>(device, part, rows);
  });
}

}  // namespace tomolearn::cuda
