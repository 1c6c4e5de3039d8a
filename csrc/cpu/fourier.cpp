// The Fourier method's operators: checks, packs of slices, and the choice of kernels.
#include "fourier.h"

#include <torch/csrc/stable/library.h>

#include <cmath>

#include "../arguments.h"
#include "runtime.h"
#include "simd_level.h"

namespace tomolearn {

const FourierMethod& fourier_method() {
  switch (simd_level()) {
#if defined(TOMOLEARN_HAVE_AVX512)
    case 2:
      return avx512::fourier_table;
#endif
#if defined(TOMOLEARN_HAVE_AVX2)
    case 1:
      return avx2::fourier_table;
#endif
    default:
      return baseline::fourier_table;
  }
}

namespace {

bool is_length_of_transform(int64_t n) {
  if (n < 64 || n % 16 || n >= (1 << 24)) return false;
  for (int p : {2, 3, 5})
    while (n % p == 0) n /= p;
  return n == 1;
}

void check_table(const Tensor& t, const char* name, ScalarType type, const Sizes& shape) {
  bool fits = t.is_cpu() && t.scalar_type() == type && t.is_contiguous() && t.dim() == int64_t(shape.size());
  for (size_t i = 0; fits && i < shape.size(); i++) fits = t.size(i) == shape[i];
  STD_TORCH_CHECK(fits, name, " is not a table of this plan: wrong type, shape or device");
}

// Points at the tables. Every access of the kernels lies within what is checked here.
FourierScan read_scan(const Tensor& in, const Tensor& index, const Tensor& rays, const Tensor& center, const Tensor& tables,
                      const Sizes& sizes) {
  STD_TORCH_CHECK(sizes.size() == 9, "sizes must hold 9 numbers, got ", sizes.size());
  for (int64_t size : sizes) STD_TORCH_CHECK(size >= 0 && size < (1 << 24), "sizes holds ", size);
  FourierScan s{};
  s.n_detectors = int(sizes[0]), s.n_fft = int(sizes[1]), s.rows = int(sizes[2]), s.columns = int(sizes[3]);
  s.grid_rows = int(sizes[4]), s.grid_columns = int(sizes[5]), s.width = int(sizes[6]), s.degree = int(sizes[7]);
  s.edge = sizes[8] != 0;
  STD_TORCH_CHECK(is_length_of_transform(s.n_fft) && is_length_of_transform(s.grid_rows) &&
                      is_length_of_transform(s.grid_columns),
                  "transforms must have multiples of 16 as lengths, from 64 on, with no prime factor above 5");
  STD_TORCH_CHECK(s.n_detectors > 0 && s.n_detectors <= s.n_fft && s.rows > 0 && s.rows <= s.grid_rows && s.columns > 0 &&
                      s.columns <= s.grid_columns,
                  "projections and images must not be longer than their transforms");
  STD_TORCH_CHECK((s.width == 4 || s.width == 5 || s.width == 8) && s.degree % 2 == 1 && s.degree <= 11 && s.degree >= 3,
                  "the kernel must be 4, 5 or 8 cells wide, its degree odd and from 3 to 11");
  const int64_t n = index.dim() == 2 ? index.size(1) : -1, spectrum = s.n_fft / 2 + 1, pairs = (s.width + 1) / 2;
  STD_TORCH_CHECK(n > 0 && n < (1 << 24), "index must be (2, angles)");
  check_table(index, "index", ScalarType::Int, {2, n});
  check_table(rays, "rays", ScalarType::Double, {5, n});
  check_table(tables, "tables", ScalarType::Double, {spectrum + s.rows + s.columns + pairs * (s.degree + 1)});
  check_center(center, n, in.size(0));
  s.n_angles = int(n);
  s.angle = data<int>(index), s.n_frequencies = s.angle + n;
  s.turned = data<double>(rays), s.column_step = s.turned + n, s.row_step = s.column_step + n, s.offset = s.row_step + n;
  s.gain = s.offset + n;
  s.center = data<double>(center), s.center_stride = center.size(0) == 1 ? 0 : n;
  s.response = data<double>(tables), s.row_scale = s.response + spectrum, s.column_scale = s.row_scale + s.rows;
  s.taps = s.column_scale + s.columns;
  for (int k = 0; k < n; k++) {
    const int r = s.n_frequencies[k];
    STD_TORCH_CHECK(s.angle[k] >= 0 && s.angle[k] < n && r >= 0 && r <= spectrum, "index is out of range at ray ", k);
    const double c = s.column_step[k], row = std::fabs(s.row_step[k]);
    STD_TORCH_CHECK(c > 0 && c <= 1e6 && row <= 1e6 && c * (r - 1) <= s.grid_columns / 2 + 1e-6 &&
                        row * (r - 1) <= s.grid_rows / 2 + 1e-6,
                    "ray ", k, " leaves the grid");
  }
  return s;
}

template <class T>
struct Passes {
  FourierPass<T> many, one;
  int lanes;
};
Passes<float> passes(Direction d, float) {
  const FourierMethod& m = fourier_method();
  return d == Direction::project ? Passes<float>{m.project, m.project1, 8} : Passes<float>{m.adjoint, m.adjoint1, 8};
}
Passes<double> passes(Direction d, double) {
  const FourierMethod& m = fourier_method();
  return d == Direction::project ? Passes<double>{m.project_double, m.project1_double, 4}
                                 : Passes<double>{m.adjoint_double, m.adjoint1_double, 4};
}

// A pack costs the same whether it is full or not; below half full, slices by themselves are faster.
template <class T>
void all_slices(Direction direction, FourierScan scan, const Tensor& in, Tensor& out) {
  const Passes<T> p = passes(direction, T());
  const int64_t n = in.size(0), from = in.size(1) * in.size(2), to = out.size(1) * out.size(2);
  for (int64_t z = 0; z < n;) {
    const int64_t left = n - z, used = left > p.lanes ? p.lanes : left > p.lanes / 2 - 1 ? left : 1;
    (used > 1 ? p.many : p.one)(scan, data<T>(in) + z * from, static_cast<T*>(out.data_ptr()) + z * to, int(used));
    z += used;
    scan.center += used * scan.center_stride;
  }
}

Tensor apply(Direction direction, const Tensor& input, const Tensor& index, const Tensor& rays, const Tensor& center,
             const Tensor& tables, const Sizes& sizes) {
  const char* name = direction == Direction::project ? "images" : "projections";
  STD_TORCH_CHECK(input.dim() == 3, name, " must have 3 dimensions, got ", input.dim());
  check_floating(input, name, Half::refused);
  const Tensor in = torch::stable::contiguous(input);
  const FourierScan scan = read_scan(in, index, rays, center, tables, sizes);
  const bool forward = direction == Direction::project;
  const int size1 = forward ? scan.rows : scan.n_angles, size2 = forward ? scan.columns : scan.n_detectors;
  STD_TORCH_CHECK(in.size(1) == size1 && in.size(2) == size2, name, " must be (slices, ", size1, ", ", size2,
                  "), got (slices, ", in.size(1), ", ", in.size(2), ")");
  Tensor out = torch::stable::new_empty(in, forward ? Sizes{in.size(0), scan.n_angles, scan.n_detectors}
                                                    : Sizes{in.size(0), scan.rows, scan.columns});
  if (out.numel() == 0) return out;
  advise_huge_pages(out.data_ptr(), out.numel() * out.element_size());
  if (in.scalar_type() == ScalarType::Float)
    all_slices<float>(direction, scan, in, out);
  else
    all_slices<double>(direction, scan, in, out);
  return out;
}

Tensor fourier_project(const Tensor& images, const Tensor& index, const Tensor& rays, const Tensor& center,
                       const Tensor& tables, Sizes sizes) {
  return apply(Direction::project, images, index, rays, center, tables, sizes);
}
Tensor fourier_adjoint(const Tensor& projections, const Tensor& index, const Tensor& rays, const Tensor& center,
                       const Tensor& tables, Sizes sizes) {
  return apply(Direction::backproject, projections, index, rays, center, tables, sizes);
}

}  // namespace
}  // namespace tomolearn

STABLE_TORCH_LIBRARY_IMPL(tomolearn, CPU, m) {
  m.impl("fourier_project", TORCH_BOX(&tomolearn::fourier_project));
  m.impl("fourier_adjoint", TORCH_BOX(&tomolearn::fourier_adjoint));
}
