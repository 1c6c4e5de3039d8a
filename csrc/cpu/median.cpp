// sliding_median on the CPU: checks, and the kernel of the SIMD level in use.
#include "median.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <climits>

#include "runtime.h"
#include "simd_level.h"

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

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
  constexpr int max_size = 1 << 20;
  STD_TORCH_CHECK(input.dim() == 3, "the input must be (slices, length, lanes), got ", input.dim(), " dimensions");
  STD_TORCH_CHECK(input.scalar_type() == ScalarType::Float || input.scalar_type() == ScalarType::Double,
                  "the input must be float32 or float64");
  STD_TORCH_CHECK(size > 0 && size % 2 == 1 && size < max_size, "size must be odd and positive, got ", size);
  STD_TORCH_CHECK(input.size(1) < INT_MAX / 4, "the axis is too long");
  const Tensor in = torch::stable::contiguous(input);
  Tensor out = torch::stable::empty_like(in);
  if (in.numel() == 0) return out;
  advise_huge_pages(out.data_ptr(), out.numel() * out.element_size());
  const MedianTask task{in.size(0), int(in.size(1)), in.size(2), int(size)};
  if (in.scalar_type() == ScalarType::Float)
    kernels().single(task, static_cast<const float*>(in.data_ptr()), static_cast<float*>(out.data_ptr()));
  else
    kernels().wide(task, static_cast<const double*>(in.data_ptr()), static_cast<double*>(out.data_ptr()));
  return out;
}

}  // namespace
}  // namespace tomolearn

STABLE_TORCH_LIBRARY_IMPL(tomolearn, CPU, m) { m.impl("sliding_median", TORCH_BOX(&tomolearn::sliding_median)); }
