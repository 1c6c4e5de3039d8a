// sliding_median on CUDA devices: arguments checked, kernel launched.
#include "median.cuh"

#include <torch/csrc/stable/library.h>

#include "../arguments.h"
#include "torch_device.h"

namespace tomolearn::cuda {
namespace {

template <class K>
void run(TorchDevice& device, const MedianTask& task, const Tensor& in, Tensor& out) {
  launch_median(device, task, static_cast<const K*>(in.data_ptr()), static_cast<K*>(out.data_ptr()));
}

Tensor sliding_median(const Tensor& input, int64_t size) {
  const MedianTask task = check_median(input, size, Half::taken);
  TorchDevice device(input);
  const Tensor in = torch::stable::contiguous(input);
  Tensor out = torch::stable::empty_like(in);
  switch (in.element_size()) {
    case 2: run<uint16_t>(device, task, in, out); break;
    case 4: run<uint32_t>(device, task, in, out); break;
    default: run<uint64_t>(device, task, in, out);
  }
  return out;
}

}  // namespace
}  // namespace tomolearn::cuda

STABLE_TORCH_LIBRARY_IMPL(tomolearn, CUDA, m) { m.impl("sliding_median", TORCH_BOX(&tomolearn::cuda::sliding_median)); }
