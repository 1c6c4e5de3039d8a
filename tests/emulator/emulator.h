// CUDA kernels on the CPU, for tests: the language of the kernels in macros, and a machine that runs one block at a time.
//
// Threads of a block run one after another as fibers, from one barrier to the next, in the order of EMULATOR_ORDER:
// forward, reverse or random:SEED. Barriers are real; threads that wait at different ones, or for a thread that has
// returned, end the process with the places in the source. Shared arrays are heap blocks of their exact size, filled with
// 0xFF bytes (NaN) for every block. What a GPU would refuse to launch is refused here.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <numeric>
#include <string>
#include <tuple>

#include "fibers.h"

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct uint3 {
  unsigned x, y, z;
};

namespace emulator {

constexpr int kExitStatus = 70;  // of a process whose kernel broke a rule

[[noreturn]] inline void fail(const std::string& message) {
  std::fprintf(stderr, "emulator: %s\n", message.c_str());
  std::fflush(stderr);
  std::_Exit(kExitStatus);
}

// A generator for std::shuffle (SplitMix64): the header <random> would take a third of the time that this one compiles.
struct Random {
  using result_type = uint64_t;
  uint64_t state = 0;

  static constexpr uint64_t min() { return 0; }
  static constexpr uint64_t max() { return ~uint64_t(0); }
  uint64_t operator()() {
    uint64_t z = state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
};

enum class State { ready, at_barrier, at_warp, done };

struct Thread {
  uint3 index;
  unsigned number;
  State state;
  const char* site;  // of the barrier it waits at
};

struct Warp {
  uint32_t mask = 0, arrived = 0;
  unsigned generation = 0;
  const char* site = nullptr;
  uint64_t value[32] = {};
};

class Machine {
 public:
  dim3 grid, block;
  uint3 block_index{};
  Thread* current = nullptr;

  static Machine& get() {
    static Machine machine;
    return machine;
  }

  void launch(dim3 grid_size, dim3 block_size, std::size_t dynamic, void (*kernel)(void*), void* arguments, const char* name) {
    Bookkeeping quiet;
    grid = grid_size, block = block_size, kernel_ = kernel, arguments_ = arguments, name_ = name, dynamic_size_ = dynamic;
    check_launch();
    set_order();
    release(&start_);
    const uint64_t n_blocks = uint64_t(grid.x) * grid.y * grid.z;
    std::vector<uint64_t> blocks(n_blocks);
    std::iota(blocks.begin(), blocks.end(), 0);
    if (reverse_) std::reverse(blocks.begin(), blocks.end());
    if (random_) std::shuffle(blocks.begin(), blocks.end(), generator_);
    for (uint64_t b : blocks) {
      block_index = {unsigned(b % grid.x), unsigned(b / grid.x % grid.y), unsigned(b / grid.x / grid.y)};
      run_block();
    }
    acquire(&end_);
  }

  void barrier(const char* site) {
    Bookkeeping quiet;
    void* key = this->key(0, barriers_);
    release(key);
    wait(State::at_barrier, site);
    acquire(key);
  }

  // All lanes of the mask meet here.
  void meet(uint32_t mask, const char* site) {
    Bookkeeping quiet;
    const unsigned number = current->number / 32;
    Warp& warp = warps_[number];
    const unsigned in_warp = std::min(32u, n_threads() - 32 * number);
    if (in_warp < 32) mask &= (1u << in_warp) - 1;
    if (!(mask >> lane() & 1)) fail(std::string("a lane calls ") + site + " that its own mask does not name");
    if (warp.arrived && (warp.mask != mask || warp.site != site))
      fail(std::string("lanes of a warp meet at ") + warp.site + " and at " + site + ", or with different masks");
    warp.mask = mask, warp.site = site, warp.arrived |= 1u << lane();
    void* key = this->key(1 + number, warp.generation);
    release(key);
    if (warp.arrived == mask) {
      warp.arrived = 0, warp.generation++;
      for (unsigned k = 0; k < in_warp; k++)
        if (mask >> k & 1) threads_[32 * number + k].state = State::ready;
    } else {
      wait(State::at_warp, site);
    }
    acquire(key);
  }

  template <class T>
  T shuffle(uint32_t mask, T value, int source, int first, int last, const char* site) {
    static_assert(sizeof(T) <= 8);
    Warp& warp = warps_[current->number / 32];
    {
      Bookkeeping quiet;
      std::memcpy(&warp.value[lane()], &value, sizeof(T));
    }
    meet(mask, site);
    {
      Bookkeeping quiet;
      if (source >= first && source < last) {  // else the lane keeps its own value
        if (!(warp.mask >> source & 1)) fail(std::string("a lane reads at ") + site + " from a lane that is not in the mask");
        std::memcpy(&value, &warp.value[source], sizeof(T));
      }
    }
    meet(mask, site);  // nobody overwrites a value before all have read it
    return value;
  }

  unsigned lane() const { return current->number % 32; }

  void* shared_array(const void* key, std::size_t bytes) {
    Bookkeeping quiet;
    auto& memory = shared_[key];
    if (!memory) {
      memory.reset(new unsigned char[bytes]);
      std::memset(memory.get(), 0xFF, bytes);
      shared_size_ += bytes;
      if (shared_size_ > kSharedLimit) fail(std::string(name_) + " has more than 48 KiB of shared memory");
    }
    return memory.get();
  }

  void* dynamic_shared() { return shared_array(&dynamic_size_, dynamic_size_); }

 private:
  static constexpr std::size_t kSharedLimit = 48 << 10;

  unsigned n_threads() const { return block.x * block.y * block.z; }

  // An address for ThreadSanitizer to order threads by. Those of a barrier and of the next differ, since fast threads come
  // to the next one before slow ones have left; those of neighbouring blocks differ, since nothing orders blocks.
  void* key(unsigned what, unsigned generation) {
    static char keys[1 << 20];
    return keys + (n_blocks_run_ * 66 + 2 * what + generation % 2) % sizeof keys;
  }

  void check_launch() const {
    const auto refuse = [this](const char* why) { fail(std::string(name_) + " cannot be launched: " + why); };
    if (!block.x || !block.y || !block.z) refuse("the block is empty");
    if (block.x > 1024 || block.y > 1024 || block.z > 64 || uint64_t(block.x) * block.y * block.z > 1024)
      refuse("the block has too many threads");
    if (!grid.x || !grid.y || !grid.z) refuse("the grid is empty");
    if (grid.x > 2147483647u || grid.y > 65535 || grid.z > 65535) refuse("the grid is too large");
    if (dynamic_size_ > kSharedLimit) refuse("more than 48 KiB of shared memory");
  }

  void set_order() {
    const char* wanted = std::getenv("EMULATOR_ORDER");
    const std::string order = wanted ? wanted : "forward";
    reverse_ = order == "reverse", random_ = order.rfind("random:", 0) == 0;
    if (!reverse_ && !random_ && order != "forward") fail("EMULATOR_ORDER is forward, reverse or random:SEED, not " + order);
    if (random_) generator_.state = std::strtoul(order.c_str() + 7, nullptr, 10);
    order_.resize(n_threads());
    std::iota(order_.begin(), order_.end(), 0u);
    if (reverse_) std::reverse(order_.begin(), order_.end());
  }

  void run_block() {
    n_blocks_run_++;
    shared_.clear(), shared_size_ = 0;
    threads_.resize(n_threads());
    warps_.assign((n_threads() + 31) / 32, Warp());
    for (unsigned i = 0; i < n_threads(); i++)
      threads_[i] = {{i % block.x, i / block.x % block.y, i / (block.x * block.y)}, i, State::ready, nullptr};
    while (run_ready_threads()) open_barrier();
    current = nullptr;
  }

  // Every thread up to its next barrier or its end. False: all have ended.
  bool run_ready_threads() {
    if (random_) std::shuffle(order_.begin(), order_.end(), generator_);
    for (bool ran = true; ran;) {  // again, since a warp's meeting makes threads ready that have had their turn
      ran = false;
      for (unsigned i : order_)
        if (threads_[i].state == State::ready) {
          current = &threads_[i], ran = true;
          fiber(i).resume();
        }
    }
    return std::any_of(threads_.begin(), threads_.end(), [](const Thread& t) { return t.state != State::done; });
  }

  void open_barrier() {
    const Thread* first = nullptr;
    unsigned n_done = 0;
    for (const Thread& t : threads_) {
      n_done += t.state == State::done;
      if (t.state == State::at_warp)
        fail(std::string(name_) + " hangs: lanes of a warp wait at " + t.site + " for lanes that never come");
      if (t.state != State::at_barrier) continue;
      if (first && t.site != first->site)
        fail(std::string(name_) + ": divergent barrier, threads of a block wait at " + first->site + " and at " + t.site);
      first = &t;
    }
    if (n_done) fail(std::string(name_) + ": divergent barrier, threads wait at " + first->site + " but others have returned");
    for (Thread& t : threads_) t.state = State::ready;
    barriers_++;
  }

  void wait(State state, const char* site) {
    current->state = state, current->site = site;
    fiber(current->number).suspend();
  }

  // Neighbouring blocks have different fibers, so that ThreadSanitizer sees races between equal thread numbers too.
  Fiber& fiber(unsigned number) {
    auto& fibers = fibers_[n_blocks_run_ % 2];
    while (fibers.size() <= number) fibers.emplace_back(new Fiber(run_thread));
    return *fibers[number];
  }

  static void run_thread() {
    Machine& machine = get();
    acquire(&machine.start_);
    ignore_end();
    machine.kernel_(machine.arguments_);
    ignore_begin();
    machine.current->state = State::done;
    release(&machine.end_);
  }

  void (*kernel_)(void*) = nullptr;
  void* arguments_ = nullptr;
  const char* name_ = "";
  std::size_t dynamic_size_ = 0, shared_size_ = 0;
  std::map<const void*, std::unique_ptr<unsigned char[]>> shared_;
  std::vector<Thread> threads_;
  std::vector<Warp> warps_;
  std::vector<unsigned> order_;
  std::vector<std::unique_ptr<Fiber>> fibers_[2];
  Random generator_;
  bool reverse_ = false, random_ = false;
  unsigned barriers_ = 0;
  uint64_t n_blocks_run_ = 0;
  char start_ = 0, end_ = 0;
};

// What TOMO_LAUNCH makes: called with the kernel's arguments.
template <class... P>
struct Launch {
  dim3 grid, block;
  std::size_t dynamic;
  const char* name;
  void (*kernel)(P...);

  template <class... A>
  void operator()(A&&... arguments) const {
    struct Call {
      void (*kernel)(P...);
      std::tuple<P...> arguments;
    } call{kernel, {std::forward<A>(arguments)...}};
    Machine::get().launch(
        grid, block, dynamic,
        [](void* pointer) {
          Call& call = *static_cast<Call*>(pointer);
          std::apply(call.kernel, call.arguments);
        },
        &call, name);
  }
};

template <class... P>
Launch<P...> make_launch(dim3 grid, dim3 block, std::size_t dynamic, const void*, const char* name, void (*kernel)(P...)) {
  return {grid, block, dynamic, name, kernel};
}

template <class T>
T shuffle(uint32_t mask, T value, int source, int width, const char* site) {
  Machine& machine = Machine::get();
  const int first = int(machine.lane()) / width * width;
  return machine.shuffle(mask, value, source, first, first + width, site);
}

inline int own_lane() { return int(Machine::get().lane()); }

}  // namespace emulator

#define EMULATOR_TEXT_(x) #x
#define EMULATOR_TEXT(x) EMULATOR_TEXT_(x)
#define EMULATOR_SITE __FILE__ ":" EMULATOR_TEXT(__LINE__)

#define threadIdx (emulator::Machine::get().current->index)
#define blockIdx (emulator::Machine::get().block_index)
#define blockDim (emulator::Machine::get().block)
#define gridDim (emulator::Machine::get().grid)
#define __syncthreads() emulator::Machine::get().barrier(EMULATOR_SITE)
#define __syncwarp(mask) emulator::Machine::get().meet(mask, EMULATOR_SITE)
#define __shfl_sync(mask, value, lane) \
  emulator::shuffle(mask, value, int(lane), 32, EMULATOR_SITE)
#define __shfl_up_sync(mask, value, step) emulator::shuffle(mask, value, emulator::own_lane() - int(step), 32, EMULATOR_SITE)
#define __shfl_down_sync(mask, value, step) emulator::shuffle(mask, value, emulator::own_lane() + int(step), 32, EMULATOR_SITE)
#define __shfl_xor_sync(mask, value, bits) emulator::shuffle(mask, value, emulator::own_lane() ^ int(bits), 32, EMULATOR_SITE)

// Names of csrc/cuda/device.h.
#define TOMO_KERNEL(threads) static void
#define TOMO_NO_UNROLL
#define TOMO_LAUNCH(grid, block, bytes, stream, ...) \
  emulator::make_launch(grid, block, bytes, stream, #__VA_ARGS__, __VA_ARGS__)
// A real array behind a reference: UndefinedBehaviorSanitizer then checks every index against its own dimension.
#define TOMO_SHARED(T, name, extent)      \
  static const char name##_key = 0;       \
  using name##_array = T extent;          \
  auto& name = *static_cast<name##_array*>(emulator::Machine::get().shared_array(&name##_key, sizeof(name##_array)))
#define TOMO_DYNAMIC_SHARED(T, name) T* const name = static_cast<T*>(emulator::Machine::get().dynamic_shared())

template <class T>
T atomicAdd(T* address, T value) {
  T old, sum;
  __atomic_load(address, &old, __ATOMIC_RELAXED);
  do sum = old + value;
  while (!__atomic_compare_exchange(address, &old, &sum, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return old;
}

template <class T>
T __ldg(const T* address) {
  return *address;
}

using __half = _Float16;
inline float __half2float(__half value) { return float(value); }
inline __half __float2half_rn(float value) { return __half(value); }

using cudaStream_t = void*;
