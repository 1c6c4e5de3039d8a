// radon, radon_adjoint, backproject, backproject_adjoint on CUDA devices: arguments checked, kernels launched.
#include <torch/csrc/stable/library.h>

#include "../arguments.h"
#include "projector.cuh"
#include "torch_device.h"

namespace tomolearn::cuda {
namespace {

template <class S>
void run(TorchDevice& device, Direction direction, const Geometry& g, int64_t n_centers, Footprint footprint, const Tensor& in,
         Tensor& out) {
  const Request<S> request{g, n_centers, footprint, static_cast<const S*>(in.data_ptr()), static_cast<S*>(out.data_ptr()),
                           in.size(0)};
  direction == Direction::project ? launch_project(device, request) : launch_backproject(device, request);
}

Tensor apply(Direction direction, Footprint footprint, const Tensor& input, const Tensor& angles, const Tensor& center,
             double spacing, int64_t size0, int64_t size1) {
  check_projector(direction, input, angles, center, spacing, size0, size1, Half::taken);
  TorchDevice device(input);
  const Tensor in = torch::stable::contiguous(input);
  Tensor out = torch::stable::new_empty(in, projector_output(direction, in, angles, size0, size1));
  if (out.numel() == 0) return out;
  if (in.numel() == 0) return torch::stable::zero_(out);
  const Geometry g = read_geometry(direction, in, angles, center, spacing, size0, size1);
  switch (in.scalar_type()) {
    case ScalarType::Float: run<float>(device, direction, g, center.size(0), footprint, in, out); break;
    case ScalarType::Double: run<double>(device, direction, g, center.size(0), footprint, in, out); break;
    default: run<__half>(device, direction, g, center.size(0), footprint, in, out);
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
