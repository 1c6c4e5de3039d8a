// Kernels that are right, and the same with one mistake each, which the emulator or a sanitizer must report.
//
//   faults NAME ...   runs them; prints each result, exits with 0 if all are right and with 1 if one is wrong
#include <cstdio>
#include <cstring>
#include <iterator>
#include <vector>

#include "emulator.h"

namespace {

constexpr int kThreads = 64;

enum class Fault { none, leading_barrier, trailing_barrier };

// Sums neighbours around a ring, block by block of kThreads, through one shared array that is used anew each round.
template <Fault fault>
TOMO_KERNEL(kThreads) sum_neighbours(const float* in, float* out, int n) {
  TOMO_SHARED(float, tile, [kThreads]);
  const int k = threadIdx.x;
  for (int begin = 0; begin < n; begin += kThreads) {
    tile[k] = in[begin + k];
    if (fault != Fault::leading_barrier) __syncthreads();
    out[begin + k] = tile[(k + kThreads - 1) % kThreads] + tile[(k + 1) % kThreads];
    if (fault != Fault::trailing_barrier) __syncthreads();
  }
}

template <Fault fault>
bool neighbours() {
  const int n = 4 * kThreads;
  std::vector<float> in(n), out(n);
  for (int i = 0; i < n; i++) in[i] = float(i);
  TOMO_LAUNCH(dim3(1), dim3(kThreads), 0, nullptr, sum_neighbours<fault>)(in.data(), out.data(), n);
  for (int i = 0; i < n; i++) {
    const int begin = i / kThreads * kThreads, k = i % kThreads;
    if (!(out[i] == in[begin + (k + kThreads - 1) % kThreads] + in[begin + (k + 1) % kThreads])) return false;
  }
  return true;
}

// The sum of `in`: lanes by shuffles, warps through dynamic shared memory, blocks by atomics.
template <int past_the_end, bool atomic>
TOMO_KERNEL(kThreads) sum_all(const float* in, float* total, int n) {
  TOMO_DYNAMIC_SHARED(float, part);
  float sum = 0;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) sum += in[i];
  for (int step = 16; step; step /= 2) sum += __shfl_down_sync(0xffffffffu, sum, step);
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x) return;
  float whole = 0;
  for (int w = 0; w < int(blockDim.x) / 32 + past_the_end; w++) whole += part[w];
  if (atomic) atomicAdd(total, whole);
  else *total += whole;
}

template <int past_the_end, bool atomic>
bool sum() {
  const int n = 1000;
  std::vector<float> in(n, 2.f);
  float total = 0;
  TOMO_LAUNCH(dim3(3), dim3(kThreads), kThreads / 32 * sizeof(float), nullptr, sum_all<past_the_end, atomic>)
  (in.data(), &total, n);
  return total == 2 * n;
}

TOMO_KERNEL(32) exchange(int* out) {
  const int k = threadIdx.x;
  int sum = __shfl_sync(0xffffffffu, k, 5);            // 5
  sum += 100 * __shfl_up_sync(0xffffffffu, k, 1);      // k - 1, lane 0 its own
  sum += 10000 * __shfl_xor_sync(0xffffffffu, k, 3);   // k ^ 3
  __syncwarp(0xffffffffu);
  out[k] = sum;
}

bool shuffles() {
  int out[32];
  TOMO_LAUNCH(dim3(1), dim3(32), 0, nullptr, exchange)(out);
  for (int k = 0; k < 32; k++)
    if (out[k] != 5 + 100 * (k ? k - 1 : 0) + 10000 * (k ^ 3)) return false;
  return true;
}

TOMO_KERNEL(32) shuffle_in_a_branch() {
  if (threadIdx.x < 16) __shfl_sync(0xffffffffu, 1, 0);
}

// Adds one to n values; `guard` keeps the last block within them.
template <bool guard>
TOMO_KERNEL(kThreads) add_one(float* values, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (!guard || i < n) values[i] += 1;
}

template <bool guard>
bool increment() {
  std::vector<float> values(100, 1.f);
  TOMO_LAUNCH(dim3(2), dim3(kThreads), 0, nullptr, add_one<guard>)(values.data(), 100);
  return values[99] == 2;
}

// A row too long, still inside the array.
TOMO_KERNEL(1) cross_a_row(float* out, int column) {
  TOMO_SHARED(float, table, [4][8]);
  for (int r = 0; r < 4; r++)
    for (int c = 0; c < 8; c++) table[r][c] = float(8 * r + c);
  *out = table[0][column];
}

bool row_overrun() {
  float out = 0;
  TOMO_LAUNCH(dim3(1), dim3(1), 0, nullptr, cross_a_row)(&out, 8);
  return out == 8;
}

TOMO_KERNEL(kThreads) read_unset(float* out) {
  TOMO_SHARED(float, tile, [kThreads]);
  if (threadIdx.x) tile[threadIdx.x] = 0;
  __syncthreads();
  out[threadIdx.x] = tile[threadIdx.x];
}

bool unset() {
  float out[kThreads];
  TOMO_LAUNCH(dim3(1), dim3(kThreads), 0, nullptr, read_unset)(out);
  return out[0] == 0;
}

TOMO_KERNEL(kThreads) barrier_in_branches() {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}

TOMO_KERNEL(kThreads) barrier_after_return() {
  if (threadIdx.x == 3) return;
  __syncthreads();
}

// Every block stores to the same place with the same thread.
TOMO_KERNEL(kThreads) blocks_collide(float* out) {
  if (threadIdx.x == 0) *out += 1;
}

bool collide() {
  float out = 0;
  TOMO_LAUNCH(dim3(2), dim3(kThreads), 0, nullptr, blocks_collide)(&out);
  return out == 2;
}

TOMO_KERNEL(1) nothing() {}

template <auto kernel, unsigned rows, unsigned threads, std::size_t bytes = 0>
bool only_launch() {
  TOMO_LAUNCH(dim3(1, rows), dim3(threads), bytes, nullptr, kernel)();
  return true;
}

struct Case {
  const char* name;
  bool (*run)();  // whether the result is right
};

constexpr Case kCases[] = {
    {"neighbours", neighbours<Fault::none>},
    {"sum", sum<0, true>},
    {"shuffles", shuffles},
    {"increment", increment<true>},
    {"missing_leading_barrier", neighbours<Fault::leading_barrier>},
    {"missing_trailing_barrier", neighbours<Fault::trailing_barrier>},
    {"overrun", increment<false>},
    {"dynamic_overrun", sum<1, true>},
    {"row_overrun", row_overrun},
    {"no_atomic", sum<0, false>},
    {"blocks_collide", collide},
    {"read_unset", unset},
    {"barrier_in_branches", only_launch<barrier_in_branches, 1, kThreads>},
    {"barrier_after_return", only_launch<barrier_after_return, 1, kThreads>},
    {"shuffle_in_a_branch", only_launch<shuffle_in_a_branch, 1, 32>},
    {"empty_grid", only_launch<nothing, 0, 1>},
    {"large_grid", only_launch<nothing, 65536, 1>},
    {"large_block", only_launch<nothing, 1, 1025>},
    {"large_shared", only_launch<nothing, 1, 1, (48 << 10) + 1>},
};

}  // namespace

int main(int argc, char** argv) {
  bool right = argc > 1;
  for (int k = 1; k < argc; k++) {
    const Case* found = kCases;
    while (found != std::end(kCases) && std::strcmp(found->name, argv[k])) found++;
    if (found == std::end(kCases)) return 2;
    const bool result = found->run();
    std::puts(result ? "right" : "wrong");
    right = right && result;
  }
  return right ? 0 : 1;
}
