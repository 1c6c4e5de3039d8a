#include "runtime.h"

#include <sys/mman.h>
#include <torch/csrc/stable/ops.h>

#include <cstdlib>
#include <new>

namespace tomolearn {

void run_jobs(int64_t count, void (*worker)(void* context, Jobs& jobs), void* context) {
  Jobs jobs{count, 0};
  const int64_t threads = torch::stable::get_num_threads();
  torch::stable::parallel_for(0, threads < count ? threads : count, 1, [&](int64_t, int64_t) { worker(context, jobs); });
}

void* scratch_allocate(size_t bytes) {
  // Packs are tens of MB read in short pieces: huge pages save most of the address translation.
  constexpr size_t huge = size_t{1} << 21;
  const size_t alignment = bytes >= huge ? huge : 4096;
  const size_t size = (bytes + 64 + alignment - 1) / alignment * alignment;
  void* memory = std::aligned_alloc(alignment, size);
  if (!memory) throw std::bad_alloc();
  advise_huge_pages(memory, size);
  return memory;
}

void advise_huge_pages(void* memory, size_t bytes) {
#if defined(MADV_HUGEPAGE)
  constexpr uintptr_t worthwhile = uintptr_t{1} << 22, page = 4096;
  if (bytes < worthwhile) return;
  const uintptr_t first = reinterpret_cast<uintptr_t>(memory);
  const uintptr_t begin = (first + page - 1) / page * page, end = (first + bytes) / page * page;
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

void scratch_free(void* memory) { std::free(memory); }

}  // namespace tomolearn
