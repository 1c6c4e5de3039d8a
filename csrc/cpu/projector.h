// The projector kernels of one SIMD level, as a table of functions: what radon.cpp calls.
#pragma once
#include "../common/geometry.h"

namespace tomolearn {

// Layouts are the natural ones: images (slices, rows, columns), projections (slices, angles, detectors). All slices share
// the geometry.
template <class T>
using Pass = void (*)(const Geometry&, Footprint, const T* in, T* out, int n_slices);

struct Projector {
  // Up to 4, 16, 32 slices at once.
  Pass<float> project4, project16, project32, backproject4, backproject16, backproject32;
  Pass<double> project4d, project16d, backproject4d, backproject16d;
  // One slice by kernels of its own; nullptr where the level has none. They return false, having done nothing, for
  // geometries outside their reach.
  bool (*project1)(const Geometry&, Footprint, const float* image, float* projections);
  bool (*backproject1)(const Geometry&, Footprint, const float* projections, float* image);
};

const Projector& projector();  // of the SIMD level in use

namespace baseline {
extern const Projector table;
}
namespace avx2 {
extern const Projector table;
}
namespace avx512 {
extern const Projector table;
}

}  // namespace tomolearn
