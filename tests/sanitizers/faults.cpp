// One fault for each sanitizer, to prove that a report ends the process with an error.
#include <cstdint>

extern "C" int32_t torch_parallel_for(int64_t, int64_t, int64_t, void (*)(int64_t, int64_t, void*), void*) __attribute__((weak));

extern "C" {

int read_past_the_end(int n) {
  int* values = new int[n]();
  const int value = values[n];
  delete[] values;
  return value;
}

int shift_too_far(int n) { return 1 << (n + 31); }

int race(int n) {
  int count = 0;
  torch_parallel_for(0, n, 1, [](int64_t, int64_t, void* context) { ++*static_cast<int*>(context); }, &count);
  return count;
}
}
