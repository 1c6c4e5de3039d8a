// What the launchers share. `Device` allocates memory, copies to it and checks launches: torch_device.h.
#pragma once
#include <algorithm>
#include <cstdint>

#include "device.h"

namespace tomolearn::cuda {

// Blocks beyond the limit are jobs of those within it.
template <class Device>
dim3 grid_for(const Device& device, int64_t jobs) {
  return dim3(unsigned(std::min<int64_t>(jobs, device.max_blocks())));
}

// A copy on the device; `values` may go when this returns.
template <class T, class Device>
const T* upload(Device& device, const T* values, int64_t n) {
  return static_cast<const T*>(device.upload(values, n * sizeof(T)));
}

}  // namespace tomolearn::cuda
