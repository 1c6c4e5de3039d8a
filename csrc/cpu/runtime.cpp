#include "runtime.h"

#include <sys/mman.h>
#include <torch/csrc/stable/ops.h>
#include <unistd.h>

#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

namespace tomolearn {

void run_jobs(int64_t count, void (*worker)(void* context, Jobs& jobs), void* context) {
  Jobs jobs{count, 0};
  const int64_t threads = torch::stable::get_num_threads();
  torch::stable::parallel_for(0, threads < count ? threads : count, 1, [&](int64_t, int64_t) { worker(context, jobs); });
}

namespace {

constexpr size_t kHuge = size_t{1} << 21;

// Packs are tens of MB read in short pieces: huge pages save most of the address translation.
size_t alignment_of(size_t bytes) { return bytes >= kHuge ? kHuge : 4096; }
size_t size_of(size_t bytes) { return (bytes + 64 + alignment_of(bytes) - 1) / alignment_of(bytes) * alignment_of(bytes); }

// Blocks that wait for the next call, the one freed last at the end.
class Kept {
 public:
  void* take(size_t size) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (size_t i = blocks_.size(); i-- > 0;)
      if (blocks_[i].size == size) return remove(i);
    return nullptr;
  }

  // False where there is no room for so much, and the caller keeps it.
  bool keep(void* memory, size_t size) {
#if defined(MADV_FREE) && !defined(__SANITIZE_ADDRESS__)
    if (size < kSmallest || size > limit()) return false;
    if (madvise(memory, size, MADV_FREE) != 0) return false;
    const std::lock_guard<std::mutex> lock(mutex_);
    while (total_ + size > limit()) std::free(remove(0));
    blocks_.push_back({memory, size});
    total_ += size;
    return true;
#else
    return false;
#endif
  }

 private:
  static constexpr size_t kSmallest = size_t{1} << 24, kLargest = size_t{1} << 32;
  struct Block {
    void* memory;
    size_t size;
  };

  static size_t limit() {
    static const size_t part = size_t(sysconf(_SC_PHYS_PAGES)) / 16 * size_t(sysconf(_SC_PAGESIZE));
    return part < kLargest ? part : kLargest;
  }
  void* remove(size_t i) {
    void* const memory = blocks_[i].memory;
    total_ -= blocks_[i].size;
    blocks_.erase(blocks_.begin() + std::ptrdiff_t(i));
    return memory;
  }

  std::mutex mutex_;
  std::vector<Block> blocks_;
  size_t total_ = 0;
};

Kept& kept() {
  static Kept* const blocks = new Kept;  // never destroyed: threads may outlive the statics
  return *blocks;
}

}  // namespace

void* scratch_allocate(size_t bytes) {
  const size_t size = size_of(bytes);
  if (void* memory = kept().take(size)) return memory;
  void* memory = std::aligned_alloc(alignment_of(bytes), size);
  if (!memory) throw std::bad_alloc();
  advise_huge_pages(memory, size);
  return memory;
}

void scratch_free(void* memory, size_t bytes) {
  if (!kept().keep(memory, size_of(bytes))) std::free(memory);
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

}  // namespace tomolearn
