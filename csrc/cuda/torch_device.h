// What the operators of csrc/cuda need from torch: memory of its allocator, its current stream, errors as exceptions.
#pragma once
#include <cuda_runtime.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <cstdint>
#include <vector>

namespace tomolearn::cuda {

// The device of a tensor, made current for as long as this lives. Memory goes back to torch's allocator at the end: what
// the allocator then hands out on the same stream is used after the kernels that were launched here.
class TorchDevice {
 public:
  explicit TorchDevice(const torch::stable::Tensor& like)
      : like_(like),
        guard_(like.get_device_index()),
        stream_(torch::stable::accelerator::getCurrentStream(like.get_device_index())) {}

  void* allocate(std::size_t bytes) {
    const std::vector<int64_t> shape{static_cast<int64_t>(bytes)};
    memory_.push_back(torch::stable::new_empty(like_, shape, torch::headeronly::ScalarType::Byte));
    return memory_.back().data_ptr();
  }

  // From pageable memory: the call returns when `from` has been read.
  void upload(void* to, const void* from, std::size_t bytes) {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream()));
  }

  cudaStream_t stream() const { return static_cast<cudaStream_t>(stream_.nativeHandle()); }
  int64_t max_blocks() const { return 2147483647; }
  void check_launch() const { check(cudaGetLastError()); }

 private:
  static void check(cudaError_t error) {
    STD_TORCH_CHECK(error == cudaSuccess, "CUDA: ", cudaGetErrorString(error));
  }

  const torch::stable::Tensor& like_;
  torch::stable::accelerator::DeviceGuard guard_;
  torch::stable::accelerator::Stream stream_;
  std::vector<torch::stable::Tensor> memory_;
};

}  // namespace tomolearn::cuda
