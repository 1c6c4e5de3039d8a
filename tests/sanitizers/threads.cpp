// Replaces torch's thread pool, by LD_PRELOAD, with threads that the thread sanitizer can follow: OpenMP's run-time
// library is not instrumented, and every one of its barriers would be a false alarm.
#include <cstdint>
#include <cstdlib>
#include <thread>
#include <vector>

extern "C" {

int32_t torch_get_num_threads(uint32_t* n_threads) {
  const char* wanted = std::getenv("TOMOLEARN_TEST_THREADS");
  *n_threads = wanted ? static_cast<uint32_t>(std::atoi(wanted)) : 1;
  return 0;
}

int32_t torch_parallel_for(int64_t begin, int64_t end, int64_t, void (*function)(int64_t, int64_t, void*), void* context) {
  std::vector<std::thread> threads;
  for (int64_t i = begin; i < end; i++) threads.emplace_back(function, i, i + 1, context);
  for (auto& thread : threads) thread.join();
  return 0;
}
}
