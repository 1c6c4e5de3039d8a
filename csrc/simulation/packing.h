// Random packings of spheres in a cylinder, the voids of foam phantoms.
#pragma once

#include "common.h"

namespace tomolearn::simulation {

struct Ball {
  double x, y, z, r;
};

struct Cylinder {
  double radius, height;  // around the z axis, centred on the origin
};

// Up to n balls that do not overlap, in the order in which they were placed; fewer where no place for a ball of at
// least min_radius was found. The same arguments give the same balls on every platform.
std::vector<Ball> pack_balls(int64_t n, double min_radius, double max_radius, const Cylinder& cylinder,
                             int64_t n_candidates, uint64_t seed, Poll& poll);

}  // namespace tomolearn::simulation
