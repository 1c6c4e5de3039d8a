// radon, radon_adjoint, backproject, backproject_adjoint on CUDA devices: arguments checked, kernels launched.
#include <torch/csrc/stable/library.h>

#include <cmath>

#include "projector.cuh"
#include "torch_device.h"

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

namespace tomolearn::cuda {
namespace {

enum class Direction { project, backproject };

void check_table(const Tensor& table, const char* name, int64_t n_dimensions) {
  STD_TORCH_CHECK(table.is_cpu() && table.scalar_type() == ScalarType::Double && table.dim() == n_dimensions &&
                      table.is_contiguous(),
                  name, " must be a contiguous float64 tensor of ", n_dimensions, " dimensions on the CPU");
}

void check_arguments(const Tensor& in, const char* name, bool is_projections, const Tensor& angles, const Tensor& center,
                     double spacing, int64_t size0, int64_t size1) {
  check_table(angles, "angles", 1);
  check_table(center, "center", 2);
  STD_TORCH_CHECK(in.dim() == 3, name, " must have 3 dimensions, got ", in.dim());
  STD_TORCH_CHECK(!is_projections || in.size(1) == angles.size(0), name, " has ", in.size(1), " angles, but angles has ",
                  angles.size(0));
  for (int i = 1; i < 3; i++) STD_TORCH_CHECK(in.size(i) < (1 << 24), name, " is too large: ", in.size(i));
  STD_TORCH_CHECK(center.size(1) == angles.size(0) && (center.size(0) == 1 || center.size(0) == in.size(0)),
                  "center has shape (", center.size(0), ", ", center.size(1), "), but there are ", in.size(0), " slices and ",
                  angles.size(0), " angles");
  STD_TORCH_CHECK(spacing >= 0.01 && spacing <= 100, "spacing must be from 0.01 to 100 pixels, got ", spacing);
  STD_TORCH_CHECK(size0 >= 0 && size1 >= 0 && size0 < (1 << 24) && size1 < (1 << 24), "output size out of range");
}

template <class S>
void run(TorchDevice& device, Direction direction, const Geometry& g, int64_t n_centers, Footprint footprint, const Tensor& in,
         Tensor& out) {
  const Request<S> request{g, n_centers, footprint, static_cast<const S*>(in.data_ptr()), static_cast<S*>(out.data_ptr()),
                           in.size(0)};
  direction == Direction::project ? launch_project(device, request) : launch_backproject(device, request);
}

Tensor apply(Direction direction, Footprint footprint, const Tensor& input, const Tensor& angles, const Tensor& center,
             double spacing, int64_t size0, int64_t size1) {
  const bool forward = direction == Direction::project;
  const char* name = forward ? "images" : "projections";
  check_arguments(input, name, !forward, angles, center, spacing, size0, size1);
  TorchDevice device(input);
  const Tensor in = torch::stable::contiguous(input);
  const int64_t n_angles = angles.size(0);
  Tensor out = torch::stable::new_empty(in, forward ? std::vector<int64_t>{in.size(0), n_angles, size0}
                                                    : std::vector<int64_t>{in.size(0), size0, size1});
  if (out.numel() == 0) return out;
  if (in.numel() == 0) return torch::stable::zero_(out);
  const Geometry g{int(forward ? in.size(1) : size0), int(forward ? in.size(2) : size1), int(n_angles),
                   int(forward ? size0 : in.size(2)), spacing, static_cast<const double*>(angles.data_ptr()),
                   static_cast<const double*>(center.data_ptr())};
  switch (in.scalar_type()) {
    case ScalarType::Float: run<float>(device, direction, g, center.size(0), footprint, in, out); break;
    case ScalarType::Double: run<double>(device, direction, g, center.size(0), footprint, in, out); break;
    case ScalarType::Half: run<__half>(device, direction, g, center.size(0), footprint, in, out); break;
    default: STD_TORCH_CHECK(false, name, " must be float16, float32 or float64");
  }
  return out;
}

Tensor radon(const Tensor& images, const Tensor& angles, const Tensor& center, double spacing, int64_t n_detectors) {
  return apply(Direction::project, Footprint::line, images, angles, center, spacing, n_detectors, 0);
}
Tensor radon_adjoint(const Tensor& projections, const Tensor& angles, const Tensor& center, double spacing, int64_t rows,
                     int64_t columns) {
  return apply(Direction::backproject, Footprint::line, projections, angles, center, spacing, rows, columns);
}
Tensor backproject(const Tensor& projections, const Tensor& angles, const Tensor& center, double spacing, int64_t rows,
                   int64_t columns) {
  return apply(Direction::backproject, Footprint::pixel, projections, angles, center, spacing, rows, columns);
}
Tensor backproject_adjoint(const Tensor& images, const Tensor& angles, const Tensor& center, double spacing,
                           int64_t n_detectors) {
  return apply(Direction::project, Footprint::pixel, images, angles, center, spacing, n_detectors, 0);
}

}  // namespace
}  // namespace tomolearn::cuda

STABLE_TORCH_LIBRARY_IMPL(tomolearn, CUDA, m) {
  m.impl("radon", TORCH_BOX(&tomolearn::cuda::radon));
  m.impl("radon_adjoint", TORCH_BOX(&tomolearn::cuda::radon_adjoint));
  m.impl("backproject", TORCH_BOX(&tomolearn::cuda::backproject));
  m.impl("backproject_adjoint", TORCH_BOX(&tomolearn::cuda::backproject_adjoint));
}
