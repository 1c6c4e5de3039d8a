// What the operators of csrc/cuda need from torch: memory of its allocator, its current stream, errors as exceptions.
#pragma once
#include <cuda_runtime.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <cstdint>
#include <cstring>
#include <vector>

namespace tomolearn::cuda {

// The device of a tensor, made current for as long as this lives. Memory goes back to torch's allocator at the end: what
// the allocator then hands out on the same stream is used after the kernels that were launched here.
class TorchDevice {
 public:
  explicit TorchDevice(const torch::stable::Tensor& like)
      : like_(like),
        guard_(like.get_device_index()),
        stream_(torch::stable::accelerator::getCurrentStream(like.get_device_index())) {
    check(cudaSetDevice(like.get_device_index()));  // the runtime inside this library has a current device of its own
  }

  void* allocate(std::size_t bytes) {
    const std::vector<int64_t> shape{static_cast<int64_t>(bytes)};
    memory_.push_back(torch::stable::new_empty(like_, shape, torch::headeronly::ScalarType::Byte));
    return memory_.back().data_ptr();
  }

  // By way of pinned memory, which torch keeps until the copy is done. Copying from pageable memory would wait for all that
  // the stream has to do, or, on a GPU that reads the pages of the host itself, could read them after this call.
  const void* upload(const void* from, std::size_t bytes) {
    void* to = allocate(bytes);
    const std::vector<int64_t> shape{static_cast<int64_t>(bytes)};
    const torch::stable::Device host(torch::headeronly::DeviceType::CPU);
    const torch::stable::Tensor staged =
        torch::stable::empty(shape, torch::headeronly::ScalarType::Byte, std::nullopt, host, true);
    std::memcpy(staged.data_ptr(), from, bytes);
    torch::stable::copy_(memory_.back(), staged, true);
    return to;
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
