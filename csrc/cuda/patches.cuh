// From tables of patches to launches; on raw pointers, so that the tests run it under the emulator. See projector.cuh.
#pragma once
#include <vector>

#include "launching.cuh"
#include "patch_kernels.cuh"

namespace tomolearn::cuda {

inline PatchGrid make_patch_grid(const PatchAxis& z, const PatchAxis& y, const PatchAxis& x) {
  return {z, y, x, z.count * y.count * x.count, z.size * y.size * x.size, z.extent * y.extent * x.extent};
}

template <class Device>
PatchAxis upload_axis(Device& device, PatchAxis axis) {
  const int64_t n = axis.count * axis.size;
  axis.index = upload(device, axis.index, n);
  if (axis.weight) axis.weight = upload(device, axis.weight, n);
  return axis;
}

template <class Device>
PixelTaps upload_taps(Device& device, const PatchAxis& axis) {
  std::vector<int64_t> begin(axis.extent + 2);
  std::vector<PatchTap> taps(axis.count * axis.size);
  transpose_axis(axis, begin.data(), taps.data());
  return {upload(device, begin.data(), begin.size()), upload(device, taps.data(), taps.size())};
}

// `grid` has its tables on the host.
template <class T, bool WEIGHTED, class Device>
void launch_extract(Device& device, const PatchGrid& grid, const T* images, T* patches, int64_t n_images) {
  const int64_t total = n_images * grid.n_patches * grid.patch_size;
  if (total == 0) return;
  PatchGrid there = grid;
  there.z = upload_axis(device, grid.z), there.y = upload_axis(device, grid.y), there.x = upload_axis(device, grid.x);
  TOMO_LAUNCH(grid_for(device, (total + kPatchThreads - 1) / kPatchThreads), dim3(kPatchThreads), 0, device.stream(),
              extract_elements<T, WEIGHTED>)(there, images, patches, total);
  device.check_launch();
}

template <class T, bool WEIGHTED, class Device>
void launch_stitch(Device& device, const PatchGrid& grid, const T* patches, T* images, int64_t n_images) {
  const int64_t total = n_images * grid.image_size;
  if (total == 0) return;
  const PixelTaps z = upload_taps(device, grid.z), y = upload_taps(device, grid.y), x = upload_taps(device, grid.x);
  TOMO_LAUNCH(grid_for(device, (total + kPatchThreads - 1) / kPatchThreads), dim3(kPatchThreads), 0, device.stream(),
              stitch_pixels<T, WEIGHTED>)(grid, z, y, x, patches, images, total);
  device.check_launch();
}

}  // namespace tomolearn::cuda
