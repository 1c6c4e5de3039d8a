// extract_patches and stitch_patches on CUDA devices: arguments checked, kernels launched.
#include "patches.cuh"

#include <torch/csrc/stable/library.h>

#include "../arguments.h"
#include "torch_device.h"

namespace tomolearn::cuda {
namespace {

// The tables stay where they are, on the host.
PatchGrid make_grid(const std::array<PatchAxis, 3>& axes) { return make_patch_grid(axes[0], axes[1], axes[2]); }

template <class T, bool WEIGHTED>
void extract(TorchDevice& device, const PatchGrid& grid, const Tensor& images, Tensor& patches) {
  launch_extract<T, WEIGHTED>(device, grid, static_cast<const T*>(images.data_ptr()), static_cast<T*>(patches.data_ptr()),
                              images.size(0));
}

Tensor extract_patches(const Tensor& images, const Tensor& index, std::optional<Tensor> weight, Sizes counts,
                       Sizes patch_shape) {
  Sizes shape;
  const PatchGrid grid = make_grid(check_extract(images, index, weight, counts, patch_shape, Half::taken, &shape));
  TorchDevice device(images);
  const Tensor input = torch::stable::contiguous(images);
  Tensor patches = torch::stable::new_empty(input, shape);
  if (weight) {
    switch (input.scalar_type()) {
      case ScalarType::Half: extract<__half, true>(device, grid, input, patches); break;
      case ScalarType::Float: extract<float, true>(device, grid, input, patches); break;
      default: extract<double, true>(device, grid, input, patches);
    }
    return patches;
  }
  switch (input.element_size()) {  // a copy
    case 1: extract<uint8_t, false>(device, grid, input, patches); break;
    case 2: extract<uint16_t, false>(device, grid, input, patches); break;
    case 4: extract<uint32_t, false>(device, grid, input, patches); break;
    default: extract<uint64_t, false>(device, grid, input, patches);
  }
  return patches;
}

template <class T>
void stitch(TorchDevice& device, const PatchGrid& grid, const Tensor& patches, Tensor& images) {
  const T* from = static_cast<const T*>(patches.data_ptr());
  T* to = static_cast<T*>(images.data_ptr());
  if (grid.x.weight) launch_stitch<T, true>(device, grid, from, to, patches.size(0));
  else launch_stitch<T, false>(device, grid, from, to, patches.size(0));
}

Tensor stitch_patches(const Tensor& patches, const Tensor& index, std::optional<Tensor> weight, Sizes counts,
                      Sizes image_shape) {
  Sizes shape;
  const PatchGrid grid = make_grid(check_stitch(patches, index, weight, counts, image_shape, Half::taken, &shape));
  TorchDevice device(patches);
  const Tensor input = torch::stable::contiguous(patches);
  Tensor images = torch::stable::new_empty(input, shape);
  switch (input.scalar_type()) {
    case ScalarType::Half: stitch<__half>(device, grid, input, images); break;
    case ScalarType::Float: stitch<float>(device, grid, input, images); break;
    default: stitch<double>(device, grid, input, images);
  }
  return images;
}

}  // namespace
}  // namespace tomolearn::cuda

STABLE_TORCH_LIBRARY_IMPL(tomolearn, CUDA, m) {
  m.impl("extract_patches", TORCH_BOX(&tomolearn::cuda::extract_patches));
  m.impl("stitch_patches", TORCH_BOX(&tomolearn::cuda::stitch_patches));
}
