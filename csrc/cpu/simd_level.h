#pragma once

namespace tomolearn {
int simd_level();  // 0 baseline, 1 AVX2, 2 AVX-512: the kernels to call now
}
