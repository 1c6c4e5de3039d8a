// sliding_median; compiled once for each SIMD level (setup.py), each into a namespace of its own.
#include "kernels/sliding_median.h"

namespace tomolearn::TOMOLEARN_LEVEL {

extern const Median median;
const Median median = {sliding_median<float>, sliding_median<double>};

}  // namespace tomolearn::TOMOLEARN_LEVEL
