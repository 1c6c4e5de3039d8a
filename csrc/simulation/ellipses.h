// Images and exact sinograms of sums of ellipses.
#pragma once

#include "common.h"

namespace tomolearn::simulation {

struct Ellipse {
  double value, a, b, x, y, phi;  // a lies along the x axis turned counter-clockwise by phi
};

// Adds to out (angles, detectors): line integrals, or their mean over the width of each detector bin.
void add_ellipse_sinogram(const std::vector<Ellipse>& ellipses, const Scan& scan, bool bin_average, Poll& poll,
                          double* out);

// Adds to out (rows, columns): the mean over supersampling x supersampling points of each pixel, or, where
// supersampling is 0, the exact share of the pixel's area.
void add_ellipse_image(const std::vector<Ellipse>& ellipses, int64_t rows, int64_t columns, int supersampling,
                       Poll& poll, double* out);

}  // namespace tomolearn::simulation
