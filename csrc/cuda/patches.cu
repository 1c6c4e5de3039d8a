// extract_patches and stitch_patches on CUDA devices: arguments checked, kernels launched.
#include "patches.cuh"

#include <torch/csrc/stable/library.h>

#include <climits>
#include <optional>

#include "torch_device.h"

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using Sizes = std::vector<int64_t>;

namespace tomolearn::cuda {
namespace {

// The tables stay where they are, on the host.
PatchGrid read_grid(const Tensor& index, const std::optional<Tensor>& weight, const Sizes& counts, const Sizes& patch_shape,
                    const Sizes& image_shape) {
  static constexpr int one = 0;
  const size_t n_axes = counts.size();
  STD_TORCH_CHECK((n_axes == 2 || n_axes == 3) && patch_shape.size() == n_axes && image_shape.size() == n_axes,
                  "patches have 2 or 3 axes, and images as many and one more for the stack");
  int64_t total = 0;
  for (size_t a = 0; a < n_axes; a++) {
    STD_TORCH_CHECK(counts[a] > 0 && patch_shape[a] > 0 && image_shape[a] > 0, "patches and images must not be empty");
    STD_TORCH_CHECK(counts[a] <= INT_MAX && patch_shape[a] <= INT_MAX, "an axis has too many patches or too wide ones");
    total += counts[a] * patch_shape[a];
  }
  STD_TORCH_CHECK(index.is_cpu() && index.scalar_type() == ScalarType::Int && index.is_contiguous() && index.numel() == total,
                  "index must be a contiguous int32 tensor of ", total, " values on the CPU");
  STD_TORCH_CHECK(!weight || (weight->is_cpu() && weight->scalar_type() == ScalarType::Double && weight->is_contiguous() &&
                              weight->numel() == total),
                  "weight must be a contiguous float64 tensor of ", total, " values on the CPU");
  const int* indices = static_cast<const int*>(index.data_ptr());
  const double* weights = weight ? static_cast<const double*>(weight->data_ptr()) : nullptr;
  PatchAxis axes[3] = {{1, 1, 1, &one, nullptr}};
  for (size_t a = 0; a < n_axes; a++) {
    const int64_t length = counts[a] * patch_shape[a];
    for (int64_t k = 0; k < length; k++)
      STD_TORCH_CHECK(indices[k] >= -1 && indices[k] < image_shape[a], "index holds ", indices[k], " for an axis of ",
                      image_shape[a], " pixels");
    axes[3 - n_axes + a] = {image_shape[a], counts[a], patch_shape[a], indices, weights};
    indices += length;
    if (weights) weights += length;
  }
  return make_patch_grid(axes[0], axes[1], axes[2]);
}

template <class T, bool WEIGHTED>
void extract(TorchDevice& device, const PatchGrid& grid, const Tensor& images, Tensor& patches) {
  launch_extract<T, WEIGHTED>(device, grid, static_cast<const T*>(images.data_ptr()), static_cast<T*>(patches.data_ptr()),
                              images.size(0));
}

Tensor extract_patches(const Tensor& images, const Tensor& index, std::optional<Tensor> weight, Sizes counts,
                       Sizes patch_shape) {
  STD_TORCH_CHECK(images.dim() >= 3, "images must have 3 or 4 dimensions, got ", images.dim());
  TorchDevice device(images);
  const Tensor input = torch::stable::contiguous(images);
  const auto sizes = input.sizes();
  const PatchGrid grid = read_grid(index, weight, counts, patch_shape, Sizes(sizes.begin() + 1, sizes.end()));
  Sizes shape{sizes[0], grid.n_patches};
  shape.insert(shape.end(), patch_shape.begin(), patch_shape.end());
  Tensor patches = torch::stable::new_empty(input, shape);
  if (weight) {
    switch (input.scalar_type()) {
      case ScalarType::Half: extract<__half, true>(device, grid, input, patches); break;
      case ScalarType::Float: extract<float, true>(device, grid, input, patches); break;
      case ScalarType::Double: extract<double, true>(device, grid, input, patches); break;
      default: STD_TORCH_CHECK(false, "images must be float16, float32 or float64 where patches are weighted");
    }
    return patches;
  }
  switch (input.element_size()) {  // a copy: only the size matters
    case 1: extract<uint8_t, false>(device, grid, input, patches); break;
    case 2: extract<uint16_t, false>(device, grid, input, patches); break;
    case 4: extract<uint32_t, false>(device, grid, input, patches); break;
    case 8: extract<uint64_t, false>(device, grid, input, patches); break;
    default: STD_TORCH_CHECK(false, "images must have elements of 1, 2, 4 or 8 bytes");
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
  STD_TORCH_CHECK(patches.dim() >= 4, "patches must have 4 or 5 dimensions, got ", patches.dim());
  TorchDevice device(patches);
  const Tensor input = torch::stable::contiguous(patches);
  const auto sizes = input.sizes();
  const PatchGrid grid = read_grid(index, weight, counts, Sizes(sizes.begin() + 2, sizes.end()), image_shape);
  STD_TORCH_CHECK(sizes[1] == grid.n_patches, "patches holds ", sizes[1], " patches, the grid has ", grid.n_patches);
  Sizes shape{sizes[0]};
  shape.insert(shape.end(), image_shape.begin(), image_shape.end());
  Tensor images = torch::stable::new_empty(input, shape);
  switch (input.scalar_type()) {
    case ScalarType::Half: stitch<__half>(device, grid, input, images); break;
    case ScalarType::Float: stitch<float>(device, grid, input, images); break;
    case ScalarType::Double: stitch<double>(device, grid, input, images); break;
    default: STD_TORCH_CHECK(false, "patches must be float16, float32 or float64");
  }
  return images;
}

}  // namespace
}  // namespace tomolearn::cuda

STABLE_TORCH_LIBRARY_IMPL(tomolearn, CUDA, m) {
  m.impl("extract_patches", TORCH_BOX(&tomolearn::cuda::extract_patches));
  m.impl("stitch_patches", TORCH_BOX(&tomolearn::cuda::stitch_patches));
}
