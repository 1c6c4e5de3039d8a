// The Fourier method of one SIMD level, as a table of functions: what fourier.cpp calls.
#pragma once
#include <cstdint>

namespace tomolearn {

// One scan. Rays (angles) stand in the order in which they are gridded, turned so that their column step is positive.
// All tables are float64: the kernels convert the few that they use in the precision of the data.
struct FourierScan {
  int n_angles, n_detectors, n_fft;             // n_fft: length of the padded projections
  int rows, columns, grid_rows, grid_columns;   // image, and the grid of frequencies that it is made from
  int width, degree;                            // of the gridding kernel: cells, and degree of its polynomials
  bool edge;                                    // projections go on at both ends with their outermost values, not zeros
  const int* angle;                             // (n_angles,) which angle a ray is
  const int* n_frequencies;                     // (n_angles,) of a ray, from 0 on
  const double* turned;                         // (n_angles,) -1 where the ray was turned by half a circle, else 1
  const double *column_step, *row_step;         // (n_angles,) grid cells from one frequency to the next
  const double* offset;                         // (n_angles,) detector coordinate of the grid's pixel 0, less the axis'
  const double* center;                         // (n_angles,) by angle, not by ray: detector coordinate of the axis
  int64_t center_stride;                        // from slice to slice; 0 where all have the same
  const double* response;                       // (n_fft / 2 + 1,) of the filter
  const double* gain;                           // (n_angles,) of a ray
  const double *row_scale, *column_scale;       // (rows,), (columns,): what the kernel takes away
  const double* taps;                           // (ceil(width / 2), degree + 1): polynomials in z - 1/2
};

// in, out: (slices, angles, detectors) and (slices, rows, columns), or the other way round.
template <class T>
using FourierPass = void (*)(const FourierScan&, const T* in, T* out, int n_slices);

struct FourierMethod {
  FourierPass<float> adjoint, project;            // up to 8 slices
  FourierPass<double> adjoint_double, project_double;  // up to 4
  FourierPass<float> adjoint1, project1;          // one slice, by itself
  FourierPass<double> adjoint1_double, project1_double;
};

const FourierMethod& fourier_method();  // of the SIMD level in use

namespace baseline {
extern const FourierMethod fourier_table;
}
namespace avx2 {
extern const FourierMethod fourier_table;
}
namespace avx512 {
extern const FourierMethod fourier_table;
}

}  // namespace tomolearn
