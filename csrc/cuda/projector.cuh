// From a geometry to launches: tables of the angles, memory for packed slices, grids. On raw pointers, so that the tests
// run it under the emulator.
#pragma once
#include <algorithm>
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

// Groups to pack at a time: the packed copy stays small beside a large stack.
inline int64_t groups_at_once(int64_t groups, int64_t group_bytes) {
  constexpr int64_t kBytes = int64_t(256) << 20;
  return std::max<int64_t>(1, std::min(groups, kBytes / group_bytes));
}

template <class S, int N, class Device>
void pack(Device& device, const Packing& packing, const S* in, Slices<S, N>* packed) {
  const int64_t total = (packing.n_slices + N - 1) / N * packing.group_size;
  TOMO_LAUNCH(grid_for(device, (total + kPackThreads - 1) / kPackThreads), dim3(kPackThreads), 0, device.stream(),
              pack_slices<S, N>)(packing, in, packed);
  device.check_launch();
}

// The geometry of one of the request's axes of rotation.
template <class S>
Geometry geometry_of(const Request<S>& r, int64_t center) {
  Geometry g = r.g;
  g.center += center * g.n_angles;
  return g;
}

template <class S, int N, class Device>
void backproject_all(Device& device, const Request<S>& r) {
  const Geometry& g = r.g;
  std::vector<BackView> views;
  BackTask task{g.rows, g.columns, g.n_angles, g.n_detectors, 1, 0, 0, r.n_centers == 1 ? 0 : g.n_angles};
  for (int64_t c = 0; c < r.n_centers; c++) {
    const Geometry own = geometry_of(r, c);
    for (int a = 0; a < g.n_angles; a++) {
      const View v = make_view(own, a);
      const Hat hat = make_hat(r.footprint, std::max(std::fabs(v.per_column), std::fabs(v.per_row)), g.spacing);
      task.pairs = std::max(task.pairs, hat_pairs(hat.peak, hat.slope));
      views.push_back({v.per_column, v.per_row, v.origin, hat.peak, hat.slope});
    }
  }
  task.pad = int(std::ceil((kTile - 1) * 1.4143 / g.spacing)) + 4 + 2 * task.pairs;
  const int padded = g.n_detectors + 2 * task.pad;
  const int64_t group_size = int64_t(g.n_angles) * padded, sinogram = int64_t(g.n_angles) * g.n_detectors;
  const int64_t groups = (r.n_slices + N - 1) / N, step = groups_at_once(groups, group_size * sizeof(Slices<S, N>)) * N;
  const BackView* table = upload(device, views.data(), views.size());
  auto* packed = static_cast<Slices<S, N>*>(device.allocate(step / N * group_size * sizeof(Slices<S, N>)));
  const int64_t tiles = (int64_t(g.columns) + kTile - 1) / kTile * ((g.rows + kTile - 1) / kTile);
  const bool wide = task.pairs > 1 || g.spacing < 0.7;
  for (int64_t z = 0; z < r.n_slices; z += step) {
    task.n_slices = std::min(step, r.n_slices - z);
    pack<S, N>(device, {task.n_slices, g.n_angles, g.n_detectors, 0, task.pad, padded, 1, group_size}, r.in + z * sinogram,
               packed);
    const dim3 grid = grid_for(device, (task.n_slices + N - 1) / N * tiles), block(kTile, kTile);
    const BackView* own = table + z * task.views_of_group;
    S* images = r.out + z * g.rows * g.columns;
    if (wide)
      TOMO_LAUNCH(grid, block, 0, device.stream(), backproject_slices<S, N, true, double>)(task, own, packed, images);
    else
      TOMO_LAUNCH(grid, block, 0, device.stream(), backproject_slices<S, N, false, typename Sum<S>::type>)
      (task, own, packed, images);
    device.check_launch();
  }
}

// The rays of one class: `rows`: those that cross every row.
template <class S, int N, class Device>
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
      views.push_back({across, along, v.origin, hat.peak, slope, a});
    }
  }
  if (views.empty()) return;
  task.n_angles = int(int64_t(views.size()) / r.n_centers);
  task.views_of_group = r.n_centers == 1 ? 0 : task.n_angles;
  task.margin = 2 * task.pairs + 4;
  const int64_t pitch = task.n_across + 2 * int64_t(task.margin), group_size = pitch * task.n_along;
  const int64_t groups = (r.n_slices + N - 1) / N, step = groups_at_once(groups, group_size * sizeof(Slices<S, N>)) * N;
  const RayView* table = upload(device, views.data(), views.size());
  auto* packed = static_cast<Slices<S, N>*>(device.allocate(step / N * group_size * sizeof(Slices<S, N>)));
  const int64_t tiles = (int64_t(g.n_detectors) + kRays - 1) / kRays * ((task.n_angles + kRayAngles - 1) / kRayAngles);
  for (int64_t z = 0; z < r.n_slices; z += step) {
    task.n_slices = std::min(step, r.n_slices - z);
    pack<S, N>(device,
               {task.n_slices, g.rows, g.columns, rows ? 0 : task.margin, rows ? task.margin : 0, rows ? pitch : 1,
                rows ? 1 : pitch, group_size},
               r.in + z * g.rows * g.columns, packed);
    const dim3 grid = grid_for(device, (task.n_slices + N - 1) / N * tiles), block(kRays, kRayAngles);
    const RayView* own = table + z * task.views_of_group;
    S* projections = r.out + z * g.n_angles * g.n_detectors;
    if (task.pairs > 1)
      TOMO_LAUNCH(grid, block, 0, device.stream(), project_slices<S, N, true>)(task, own, packed, projections);
    else
      TOMO_LAUNCH(grid, block, 0, device.stream(), project_slices<S, N, false>)(task, own, packed, projections);
    device.check_launch();
  }
}

// Slices in groups of kTogether; slices with geometries of their own, and a lone last one, by themselves.
template <class S, class Device, class F>
void split_slices(Request<S> r, int64_t in_size, int64_t out_size, const F& run) {
  const int64_t together = r.n_centers > 1 ? 0 : r.n_slices % kTogether<S> == 1 ? r.n_slices - 1 : r.n_slices;
  const int64_t n_slices = r.n_slices;
  r.n_slices = together;
  if (together) run.template operator()<kTogether<S>>(r);
  r.n_slices = n_slices - together, r.in += together * in_size, r.out += together * out_size;
  if (r.n_slices) run.template operator()<1>(r);
}

template <class S, class Device>
void launch_backproject(Device& device, const Request<S>& r) {
  const int64_t image = int64_t(r.g.rows) * r.g.columns, sinogram = int64_t(r.g.n_angles) * r.g.n_detectors;
  split_slices<S, Device>(r, sinogram, image,
                          [&]<int N>(const Request<S>& part) { backproject_all<S, N>(device, part); });
}

template <class S, class Device>
void launch_project(Device& device, const Request<S>& r) {
  const int64_t image = int64_t(r.g.rows) * r.g.columns, sinogram = int64_t(r.g.n_angles) * r.g.n_detectors;
  split_slices<S, Device>(r, image, sinogram, [&]<int N>(const Request<S>& part) {
    for (bool rows : {true, false}) project_class<S, N>(device, part, rows);
  });
}

}  // namespace tomolearn::cuda
