// Parallel-beam geometry and the two footprints: the arithmetic that every projector shares, on host and device.
//
// Detector coordinate of the pixel in row r, column c:  t = ((c - cx) cos + (cy - r) sin) / spacing + center,  cx, cy the
// middle of the image: y points up, row 0 is the top. All four operators use one matrix or its transpose,
//
//   A[ray d, pixel p] = max(0, peak - slope |t(p) - d|),
//
// so each pair is matched by construction: a projector gathers along d, its partner along p, and neither scatters.
#pragma once
#include <cmath>

#include "platform.h"

namespace tomolearn {

struct Geometry {
  int rows, columns, n_angles, n_detectors;
  double spacing;        // detector pitch in pixels
  const double* angles;  // (n_angles,) radians
  const double* center;  // (n_angles,) detector coordinate of the rotation axis
};

// t = origin + column * per_column + row * per_row
struct View {
  double per_column, per_row, origin;
};

TOMO_HD View make_view(const Geometry& g, int angle) {
  double c = cos(g.angles[angle]), s = sin(g.angles[angle]);
  // Multiples of a quarter turn, in floating point: snap, so that sums along the axes are exact.
  if (fabs(c) < 1e-15) c = 0, s = s > 0 ? 1 : -1;
  if (fabs(s) < 1e-15) s = 0, c = c > 0 ? 1 : -1;
  View v;
  v.per_column = c / g.spacing;
  v.per_row = -s / g.spacing;
  v.origin = g.center[angle] - 0.5 * (g.columns - 1) * v.per_column - 0.5 * (g.rows - 1) * v.per_row;
  return v;
}

// Which way a ray runs: nearer to the columns (it crosses every row once) or nearer to the rows.
TOMO_HD bool crosses_rows(const View& v) { return fabs(v.per_column) >= fabs(v.per_row); }

enum class Footprint {
  line,   // linear interpolation between pixels across the ray (Joseph): exact transpose pair radon / radon_adjoint
  pixel,  // linear interpolation between detectors: backproject / backproject_adjoint
};

// The hat over the detector coordinate and, divided by `across`, over the pixel coordinate across the ray.
struct Hat {
  double peak, slope;
};

// `across` is |dt/du|, u the pixel coordinate across the ray: max(|cos|, |sin|) / spacing.
TOMO_HD Hat make_hat(Footprint footprint, double across, double spacing) {
  if (footprint == Footprint::pixel) return {1.0, 1.0};
  const double m = across * spacing;  // a step from row to row is 1/m pixels long along the ray
  return {1 / m, 1 / (m * across)};
}

// The hat covers 2 * pairs grid points: pairs = ceil(half width).
TOMO_HD int hat_pairs(double peak, double slope) {
  const int pairs = static_cast<int>(ceil(peak / slope - 1e-12));
  return pairs < 1 ? 1 : pairs;
}

template <class T>
TOMO_HD T hat_weight(T peak, T slope, T distance) {
  const T w = peak - slope * (distance < 0 ? -distance : distance);
  return w > 0 ? w : 0;
}

}  // namespace tomolearn
