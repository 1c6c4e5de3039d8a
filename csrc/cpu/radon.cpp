// radon, radon_adjoint, backproject, backproject_adjoint on the CPU: arguments checked, slices dealt out to the kernels.
#include <torch/csrc/stable/library.h>

#include "../arguments.h"
#include "projector.h"
#include "runtime.h"
#include "simd_level.h"

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
  check_projector(direction, input, angles, center, spacing, size0, size1, Half::refused);
  const Tensor in = torch::stable::contiguous(input);
  Tensor out = torch::stable::new_empty(in, projector_output(direction, in, angles, size0, size1));
  if (out.numel() == 0) return out;
  if (in.numel() == 0) return torch::stable::zero_(out);
  advise_huge_pages(out.data_ptr(), out.numel() * out.element_size());
  const Geometry g = read_geometry(direction, in, angles, center, spacing, size0, size1);
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
