// Every operator of tomolearn, by schema: the table of contents of the C++ side. Kernels register themselves for their
// device in csrc/cpu and csrc/cuda; shapes for torch.compile and gradients are registered in tomolearn/ops/_register.py.
//
//   images       (slices, rows, columns)             projections  (slices, angles, detectors)
//   angles       (angles,) float64, radians, on the CPU
//   center       (1, angles) or (slices, angles) float64, detector coordinate of the rotation axis, on the CPU
//   spacing      detector pitch in pixels
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(tomolearn, m) {
  // An exact matched pair: line integrals by linear interpolation across the ray (Joseph), and the transpose.
  m.def("radon(Tensor images, Tensor angles, Tensor center, float spacing, int n_detectors) -> Tensor");
  m.def("radon_adjoint(Tensor projections, Tensor angles, Tensor center, float spacing, int rows, int columns) -> Tensor");
  // The other matched pair: linear interpolation on the detector, which is what filtered back-projection wants.
  m.def("backproject(Tensor projections, Tensor angles, Tensor center, float spacing, int rows, int columns) -> Tensor");
  m.def("backproject_adjoint(Tensor images, Tensor angles, Tensor center, float spacing, int n_detectors) -> Tensor");
  // A matched pair by way of frequencies, O(n^2 log n): rays on a grid of frequencies, and images from it. All tables are on
  // the CPU and made by tomolearn/ops/fourier.py. index (2, angles) int32: angle, frequencies; rays (5, angles) float64:
  // turned, column step, row step, offset, gain; tables float64: response, row scale, column scale, taps; sizes: detectors,
  // padded, rows, columns, grid rows, grid columns, width, degree, edge. See cpu/fourier.h.
  m.def("fourier_project(Tensor images, Tensor index, Tensor rays, Tensor center, Tensor tables, SymInt[] sizes) -> Tensor");
  m.def("fourier_adjoint(Tensor projections, Tensor index, Tensor rays, Tensor center, Tensor tables, SymInt[] sizes) -> Tensor");
  // Patches on a regular grid, 2-D and 3-D, and the transpose. For each axis in turn `index` says which pixel every element
  // of every patch reads (-1: none) and `weight` (default 1) times what; both flat, on the CPU. See common/patches.h.
  m.def("extract_patches(Tensor images, Tensor index, Tensor? weight, SymInt[] counts, SymInt[] patch_shape) -> Tensor");
  m.def("stitch_patches(Tensor patches, Tensor index, Tensor? weight, SymInt[] counts, SymInt[] image_shape) -> Tensor");
  // Median of `size` (odd) neighbours along the middle axis of (slices, length, lanes), reflected at the ends.
  m.def("sliding_median(Tensor input, int size) -> Tensor");
  // Highest SIMD level to use from now on (0 baseline, 1 AVX2, 2 AVX-512; -1: leave as it is); returns the level in use.
  m.def("simd_level(int limit) -> int");
}
