// radon, radon_adjoint, backproject, backproject_adjoint on the CPU: arguments checked, slices dealt out to the kernels.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include "projector.h"
#include "runtime.h"
#include "simd_level.h"

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

namespace tomolearn {

const Projector& projector() {
#if defined(TOMOLEARN_HAVE_AVX512)
  if (simd_level() == 2) return avx512::table;
#endif
#if defined(TOMOLEARN_HAVE_AVX2)
  if (simd_level() >= 1) return avx2::table;
#endif
  return baseline::table;
}

namespace {

enum class Direction { project, backproject };

template <class T>
const T* data(const Tensor& t) {
  return static_cast<const T*>(t.data_ptr());
}

void check_geometry(const Tensor& angles, const Tensor& center, int64_t n_slices) {
  STD_TORCH_CHECK(angles.is_cpu() && angles.scalar_type() == ScalarType::Double && angles.dim() == 1 && angles.is_contiguous(),
                  "angles must be a contiguous float64 tensor (angles,) on the CPU");
  STD_TORCH_CHECK(center.is_cpu() && center.scalar_type() == ScalarType::Double && center.dim() == 2 && center.is_contiguous(),
                  "center must be a contiguous float64 tensor (1 or slices, angles) on the CPU");
  STD_TORCH_CHECK(center.size(1) == angles.size(0) && (center.size(0) == 1 || center.size(0) == n_slices), "center has shape (",
                  center.size(0), ", ", center.size(1), "), but there are ", n_slices, " slices and ", angles.size(0), " angles");
}

void check_input(const Tensor& in, const char* name, int64_t n_angles, bool is_projections) {
  STD_TORCH_CHECK(in.dim() == 3, name, " must have 3 dimensions, got ", in.dim());
  STD_TORCH_CHECK(in.scalar_type() == ScalarType::Float || in.scalar_type() == ScalarType::Double, name,
                  " must be float32 or float64");
  STD_TORCH_CHECK(!is_projections || in.size(1) == n_angles, name, " has ", in.size(1), " angles, but angles has ", n_angles);
  for (int i = 1; i < 3; i++) STD_TORCH_CHECK(in.size(i) < (1 << 24), name, " is too large: ", in.size(i));
}

// A pack costs the same for one slice as for a full one, so few slices go one by one. Crossovers measured at 512^2 x 512.
int slices_at_once(int64_t left, int break_even) { return left > 16 ? 32 : left >= break_even ? 16 : left > 1 ? 4 : 1; }

void pass(const Projector& p, Direction direction, const Geometry& g, Footprint f, const double* in, double* out, int64_t n) {
  const bool forward = direction == Direction::project;
  const int64_t image = int64_t(g.rows) * g.columns, sinogram = int64_t(g.n_angles) * g.n_detectors;
  for (int64_t z = 0; z < n;) {
    const int pack = n - z > 4 ? 16 : 4, used = int(n - z < pack ? n - z : pack);
    const auto run = forward ? (pack == 16 ? p.project16d : p.project4d) : (pack == 16 ? p.backproject16d : p.backproject4d);
    run(g, f, in + z * (forward ? image : sinogram), out + z * (forward ? sinogram : image), used);
    z += used;
  }
}

void pass(const Projector& p, Direction direction, const Geometry& g, Footprint f, const float* in, float* out, int64_t n) {
  const bool forward = direction == Direction::project;
  const int64_t image = int64_t(g.rows) * g.columns, sinogram = int64_t(g.n_angles) * g.n_detectors;
  const auto single = forward ? p.project1 : p.backproject1;
  bool has_single = single != nullptr;
  for (int64_t z = 0; z < n;) {
    const float* from = in + z * (forward ? image : sinogram);
    float* to = out + z * (forward ? sinogram : image);
    int pack = slices_at_once(n - z, has_single ? (forward ? 7 : 9) : 5);
    if (pack <= 4 && has_single) {
      has_single = single(g, f, from, to);
      if (has_single) {
        z++;
        continue;
      }
      pack = 4;
    }
    pack = pack < 4 ? 4 : pack;
    const int used = int(n - z < pack ? n - z : pack);
    const auto run = forward ? (pack == 32 ? p.project32 : pack == 16 ? p.project16 : p.project4)
                             : (pack == 32 ? p.backproject32 : pack == 16 ? p.backproject16 : p.backproject4);
    run(g, f, from, to, used);
    z += used;
  }
}

template <class T>
void all_slices(Direction direction, Geometry g, Footprint f, const Tensor& in, const Tensor& center, Tensor& out) {
  const Projector& p = projector();
  const T* from = data<T>(in);
  T* to = static_cast<T*>(out.data_ptr());
  if (center.size(0) == 1) return pass(p, direction, g, f, from, to, in.size(0));
  for (int64_t z = 0; z < in.size(0); z++) {  // an axis for each slice: a geometry for each slice
    g.center = data<double>(center) + z * g.n_angles;
    pass(p, direction, g, f, from + z * in.size(1) * in.size(2), to + z * out.size(1) * out.size(2), 1);
  }
}

Tensor apply(Direction direction, Footprint footprint, const Tensor& input, const Tensor& angles, const Tensor& center,
             double spacing, int64_t size0, int64_t size1) {
  const bool forward = direction == Direction::project;
  check_input(input, forward ? "images" : "projections", angles.numel(), !forward);
  check_geometry(angles, center, input.size(0));
  STD_TORCH_CHECK(spacing >= 0.01 && spacing <= 100, "spacing must be from 0.01 to 100 pixels, got ", spacing);
  STD_TORCH_CHECK(size0 >= 0 && size1 >= 0 && size0 < (1 << 24) && size1 < (1 << 24), "output size out of range");
  const Tensor in = torch::stable::contiguous(input);
  const int64_t n_angles = angles.size(0);
  Tensor out = torch::stable::new_empty(in, forward ? std::vector<int64_t>{in.size(0), n_angles, size0}
                                                    : std::vector<int64_t>{in.size(0), size0, size1});
  if (out.numel() == 0) return out;
  if (in.numel() == 0) return torch::stable::zero_(out);
  advise_huge_pages(out.data_ptr(), out.numel() * out.element_size());
  Geometry g{int(forward ? in.size(1) : size0), int(forward ? in.size(2) : size1), int(n_angles),
             int(forward ? size0 : in.size(2)), spacing, data<double>(angles), data<double>(center)};
  if (in.scalar_type() == ScalarType::Float)
    all_slices<float>(direction, g, footprint, in, center, out);
  else
    all_slices<double>(direction, g, footprint, in, center, out);
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
}  // namespace tomolearn

STABLE_TORCH_LIBRARY_IMPL(tomolearn, CPU, m) {
  m.impl("radon", TORCH_BOX(&tomolearn::radon));
  m.impl("radon_adjoint", TORCH_BOX(&tomolearn::radon_adjoint));
  m.impl("backproject", TORCH_BOX(&tomolearn::backproject));
  m.impl("backproject_adjoint", TORCH_BOX(&tomolearn::backproject_adjoint));
}
