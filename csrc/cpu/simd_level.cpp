// Which of the kernel builds this machine can run, and which one is in use.
#include "simd_level.h"

#include <torch/csrc/stable/library.h>

#include <atomic>
#include <cstdlib>
#include <cstring>

namespace tomolearn {
namespace {

int best_level() {
#if defined(TOMOLEARN_HAVE_AVX512)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    return 2;
#endif
#if defined(TOMOLEARN_HAVE_AVX2)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")) return 1;
#endif
  return 0;
}

int level_from_environment() {
  const char* wanted = std::getenv("TOMOLEARN_SIMD");
  const int best = best_level();
  if (!wanted) return best;
  const char* names[] = {"baseline", "avx2", "avx512"};
  for (int level = 0; level < 3; level++)
    if (std::strcmp(wanted, names[level]) == 0) return level < best ? level : best;
  return best;  // tomolearn/_extension.py refuses other names before the library is loaded
}

std::atomic<int>& level() {
  static std::atomic<int> current{level_from_environment()};
  return current;
}

int64_t limit_simd_level(int64_t limit) {
  if (limit >= 0) level() = limit < best_level() ? static_cast<int>(limit) : best_level();
  return level();
}

}  // namespace

int simd_level() { return level(); }

}  // namespace tomolearn

STABLE_TORCH_LIBRARY_IMPL(tomolearn, CompositeExplicitAutograd, m) {
  m.impl("simd_level", TORCH_BOX(&tomolearn::limit_simd_level));
}
