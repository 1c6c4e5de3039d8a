// Indices beyond the ends of an axis.
#pragma once
#include "platform.h"

namespace tomolearn {

// Reflection at the edges of the end pixels, d c b a | a b c d | d c b a, as often as needed.
TOMO_HD int mirrored(int k, int length) {
  const int period = 2 * length;
  k = k % period;
  if (k < 0) k += period;
  return k < length ? k : period - 1 - k;
}

}  // namespace tomolearn
