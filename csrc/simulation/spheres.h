// Volumes and exact projections of sums of spheres.
#pragma once

#include "common.h"

namespace tomolearn::simulation {

struct Sphere {
  double value, x, y, z, r;  // z along the rotation axis, growing with the slice index
};

// Writes out (slices, angles, detectors): the mean of supersampling x supersampling rays over each detector cell, which
// is one slice high and scan.spacing wide.
template <class T>
void project_spheres(const std::vector<Sphere>& spheres, const Scan& scan, int64_t n_slices, int supersampling,
                     int n_threads, Poll& poll, T* out);

// Writes out (slices, rows, columns): the mean of supersampling^3 points of each voxel.
template <class T>
void fill_spheres(const std::vector<Sphere>& spheres, int64_t n_slices, int64_t rows, int64_t columns,
                  int supersampling, int n_threads, Poll& poll, T* out);

}  // namespace tomolearn::simulation
