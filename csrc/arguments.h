// What every device demands of the operators' arguments, in the same words. Shapes are those of ops.cpp.
#pragma once
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <array>
#include <climits>
#include <optional>
#include <vector>

#include "common/geometry.h"
#include "common/median.h"
#include "common/patches.h"

namespace tomolearn {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using Sizes = std::vector<int64_t>;

template <class T>
const T* data(const Tensor& t) {
  return static_cast<const T*>(t.data_ptr());
}

// Devices differ in one thing: whether they take half precision.
enum class Half { refused, taken };

inline void check_floating(const Tensor& in, const char* name, Half half, const char* where = "") {
  const ScalarType type = in.scalar_type();
  STD_TORCH_CHECK(type == ScalarType::Float || type == ScalarType::Double || (half == Half::taken && type == ScalarType::Half),
                  name, " must be ", half == Half::taken ? "float16, float32 or float64" : "float32 or float64", where);
}

// ------------------------------------------------------------------------------------------------------- projectors

enum class Direction { project, backproject };

inline void check_center(const Tensor& center, int64_t n_angles, int64_t n_slices) {
  STD_TORCH_CHECK(center.is_cpu() && center.scalar_type() == ScalarType::Double && center.dim() == 2 && center.is_contiguous(),
                  "center must be a contiguous float64 tensor (1 or slices, angles) on the CPU");
  STD_TORCH_CHECK(center.size(1) == n_angles && (center.size(0) == 1 || center.size(0) == n_slices), "center has shape (",
                  center.size(0), ", ", center.size(1), "), but there are ", n_slices, " slices and ", n_angles, " angles");
}

inline void check_geometry(const Tensor& angles, const Tensor& center, int64_t n_slices) {
  STD_TORCH_CHECK(angles.is_cpu() && angles.scalar_type() == ScalarType::Double && angles.dim() == 1 && angles.is_contiguous(),
                  "angles must be a contiguous float64 tensor (angles,) on the CPU");
  check_center(center, angles.size(0), n_slices);
}

inline void check_projector(Direction direction, const Tensor& in, const Tensor& angles, const Tensor& center, double spacing,
                            int64_t size0, int64_t size1, Half half) {
  const char* name = direction == Direction::project ? "images" : "projections";
  STD_TORCH_CHECK(in.dim() == 3, name, " must have 3 dimensions, got ", in.dim());
  check_floating(in, name, half);
  STD_TORCH_CHECK(direction == Direction::project || in.size(1) == angles.numel(), name, " has ", in.size(1),
                  " angles, but angles has ", angles.numel());
  for (int i = 1; i < 3; i++) STD_TORCH_CHECK(in.size(i) < (1 << 24), name, " is too large: ", in.size(i));
  check_geometry(angles, center, in.size(0));
  STD_TORCH_CHECK(spacing >= 0.01 && spacing <= 100, "spacing must be from 0.01 to 100 pixels, got ", spacing);
  STD_TORCH_CHECK(size0 >= 0 && size1 >= 0 && size0 < (1 << 24) && size1 < (1 << 24), "output size out of range");
}

// size0, size1: detectors and nothing, or rows and columns.
inline Sizes projector_output(Direction direction, const Tensor& in, const Tensor& angles, int64_t size0, int64_t size1) {
  return direction == Direction::project ? Sizes{in.size(0), angles.size(0), size0} : Sizes{in.size(0), size0, size1};
}

// Points at the tables; its centres are those of the first slice.
inline Geometry read_geometry(Direction direction, const Tensor& in, const Tensor& angles, const Tensor& center, double spacing,
                              int64_t size0, int64_t size1) {
  const bool forward = direction == Direction::project;
  return {int(forward ? in.size(1) : size0), int(forward ? in.size(2) : size1), int(angles.size(0)),
          int(forward ? size0 : in.size(2)), spacing, static_cast<const double*>(angles.data_ptr()),
          static_cast<const double*>(center.data_ptr())};
}

// ---------------------------------------------------------------------------------------------------------- patches

// The axes z, y, x; of 2-D patches z has one pixel and one patch of one element. They point at the tables.
inline std::array<PatchAxis, 3> read_patch_axes(const Tensor& index, const std::optional<Tensor>& weight, const Sizes& counts,
                                                const Sizes& patch_shape, const Sizes& image_shape) {
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
  std::array<PatchAxis, 3> axes{};
  axes[0] = {1, 1, 1, &one, nullptr};
  for (size_t a = 0; a < n_axes; a++) {
    const int64_t length = counts[a] * patch_shape[a];
    for (int64_t k = 0; k < length; k++)
      STD_TORCH_CHECK(indices[k] >= -1 && indices[k] < image_shape[a], "index holds ", indices[k], " for an axis of ",
                      image_shape[a], " pixels");
    axes[3 - n_axes + a] = {image_shape[a], counts[a], patch_shape[a], indices, weights};
    indices += length;
    if (weights) weights += length;
  }
  return axes;
}

// The axes of extract_patches, `out` the shape of its result.
inline std::array<PatchAxis, 3> check_extract(const Tensor& images, const Tensor& index, const std::optional<Tensor>& weight,
                                              const Sizes& counts, const Sizes& patch_shape, Half half, Sizes* out) {
  const auto sizes = images.sizes();
  STD_TORCH_CHECK(sizes.size() >= 3, "images must have 3 or 4 dimensions, got ", sizes.size());
  const auto axes = read_patch_axes(index, weight, counts, patch_shape, Sizes(sizes.begin() + 1, sizes.end()));
  if (weight) check_floating(images, "images", half, " where patches are weighted");
  const int64_t bytes = images.element_size();  // a copy where there are no weights: only the size matters
  STD_TORCH_CHECK(bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8, "images must have elements of 1, 2, 4 or 8 bytes");
  *out = {sizes[0], axes[0].count * axes[1].count * axes[2].count};
  out->insert(out->end(), patch_shape.begin(), patch_shape.end());
  return axes;
}

// The same of stitch_patches.
inline std::array<PatchAxis, 3> check_stitch(const Tensor& patches, const Tensor& index, const std::optional<Tensor>& weight,
                                             const Sizes& counts, const Sizes& image_shape, Half half, Sizes* out) {
  const auto sizes = patches.sizes();
  STD_TORCH_CHECK(sizes.size() >= 4, "patches must have 4 or 5 dimensions, got ", sizes.size());
  const auto axes = read_patch_axes(index, weight, counts, Sizes(sizes.begin() + 2, sizes.end()), image_shape);
  const int64_t n_patches = axes[0].count * axes[1].count * axes[2].count;
  STD_TORCH_CHECK(sizes[1] == n_patches, "patches holds ", sizes[1], " patches, the grid has ", n_patches);
  check_floating(patches, "patches", half);
  *out = {sizes[0]};
  out->insert(out->end(), image_shape.begin(), image_shape.end());
  return axes;
}

// --------------------------------------------------------------------------------------------------- sliding_median

inline MedianTask check_median(const Tensor& input, int64_t size, Half half) {
  constexpr int max_size = 1 << 20;
  STD_TORCH_CHECK(input.dim() == 3, "the input must be (slices, length, lanes), got ", input.dim(), " dimensions");
  check_floating(input, "the input", half);
  STD_TORCH_CHECK(size > 0 && size % 2 == 1 && size < max_size, "size must be odd and positive, got ", size);
  STD_TORCH_CHECK(input.size(1) < INT_MAX / 4, "the axis is too long");
  return {input.size(0), int(input.size(1)), input.size(2), int(size)};
}

}  // namespace tomolearn
