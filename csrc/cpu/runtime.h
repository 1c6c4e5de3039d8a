// What the kernels need from the world: threads and scratch memory. No torch and no standard templates here: this header
// is compiled for every SIMD level, and the linker keeps one copy of a shared inline function, perhaps the AVX-512 one.
#pragma once
#include <cstddef>
#include <cstdint>

namespace tomolearn {

// Numbers 0 .. count-1, handed out one at a time to whichever thread is free.
struct Jobs {
  int64_t count, next;
  bool take(int64_t* job) {
    *job = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED);
    return *job < count;
  }
};

// Runs worker(context, jobs) on torch's threads, as many as torch.set_num_threads allows; returns when all jobs are done.
void run_jobs(int64_t count, void (*worker)(void* context, Jobs& jobs), void* context);

// Memory of at least `bytes`, on huge pages where it is large. Throws std::bad_alloc. Large blocks are kept for the next
// call, up to a sixteenth of the machine's memory and 4 GiB: the system would take a third of the time of some operators to
// clear fresh pages. What is kept is marked as free, so that the system takes it back as soon as memory is short.
void* scratch_allocate(size_t bytes);
void scratch_free(void* memory, size_t bytes);  // the same `bytes`

// Asks for huge pages under a large result that is about to be written for the first time: its page faults cost as much as
// some of the arithmetic.
void advise_huge_pages(void* memory, size_t bytes);

}  // namespace tomolearn
