// sliding_median on the CPU: checks, and the kernel of the SIMD level in use.
#include "median.h"

#include <torch/csrc/stable/library.h>

#include "../arguments.h"
#include "runtime.h"
#include "simd_level.h"

namespace tomolearn {
namespace {

const Median& kernels() {
#if defined(TOMOLEARN_HAVE_AVX512)
  if (simd_level() == 2) return avx512::median;
#endif
#if defined(TOMOLEARN_HAVE_AVX2)
  if (simd_level() >= 1) return avx2::median;
#endif
  return baseline::median;
}

Tensor sliding_median(const Tensor& input, int64_t size) {
  const MedianTask task = check_median(input, size, Half::refused);
  const Tensor in = torch::stable::contiguous(input);
  Tensor out = torch::stable::empty_like(in);
  if (in.numel() == 0) return out;
  advise_huge_pages(out.data_ptr(), out.numel() * out.element_size());
  if (in.scalar_type() == ScalarType::Float)
    kernels().single(task, static_cast<const float*>(in.data_ptr()), static_cast<float*>(out.data_ptr()));
  else
    kernels().wide(task, static_cast<const double*>(in.data_ptr()), static_cast<double*>(out.data_ptr()));
  return out;
}

}  // namespace
}  // namespace tomolearn

STABLE_TORCH_LIBRARY_IMPL(tomolearn, CPU, m) { m.impl("sliding_median", TORCH_BOX(&tomolearn::sliding_median)); }
