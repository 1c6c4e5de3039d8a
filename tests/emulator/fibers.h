// The threads of an emulated block: fibers of one system thread, which AddressSanitizer and ThreadSanitizer are told about.
//
// ThreadSanitizer takes every fiber for a thread of its own. Switching orders nothing, only `release` and `acquire` do, so
// two accesses that no barrier separates are a race whatever the order in which the fibers happened to run.
#pragma once
#include <ucontext.h>

#include <cstddef>
#include <memory>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
extern "C" {
void* __tsan_get_current_fiber();
void* __tsan_create_fiber(unsigned);
void __tsan_switch_to_fiber(void*, unsigned);
void __tsan_acquire(void*);
void __tsan_release(void*);
void AnnotateIgnoreReadsBegin(const char*, int);
void AnnotateIgnoreReadsEnd(const char*, int);
void AnnotateIgnoreWritesBegin(const char*, int);
void AnnotateIgnoreWritesEnd(const char*, int);
}
#endif

namespace emulator {

#if defined(__SANITIZE_THREAD__)
inline void acquire(void* key) { __tsan_acquire(key); }
inline void release(void* key) { __tsan_release(key); }
inline void ignore_begin() { AnnotateIgnoreReadsBegin(__FILE__, __LINE__), AnnotateIgnoreWritesBegin(__FILE__, __LINE__); }
inline void ignore_end() { AnnotateIgnoreWritesEnd(__FILE__, __LINE__), AnnotateIgnoreReadsEnd(__FILE__, __LINE__); }
#else
inline void acquire(void*) {}
inline void release(void*) {}
inline void ignore_begin() {}
inline void ignore_end() {}
#endif

// What the emulator itself reads and writes is no access of the emulated program.
struct Bookkeeping {
  Bookkeeping() { ignore_begin(); }
  ~Bookkeeping() { ignore_end(); }
  Bookkeeping(const Bookkeeping&) = delete;
};

class Fiber {
 public:
  // body() is called again for every thread the fiber is given: see resume.
  explicit Fiber(void (*body)()) : stack_(new char[kStack]), body_(body) {
    getcontext(&inside_);
    inside_.uc_stack.ss_sp = stack_.get();
    inside_.uc_stack.ss_size = kStack;
    inside_.uc_link = nullptr;
    makecontext(&inside_, enter, 0);
#if defined(__SANITIZE_THREAD__)
    thread_ = __tsan_create_fiber(0);
#endif
  }
  Fiber(const Fiber&) = delete;

  // From outside: runs the fiber until it calls suspend. A body that returns suspends, and starts anew the next time.
  void resume() {
    running_ = this;
#if defined(__SANITIZE_THREAD__)
    outside_thread_ = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(thread_, kNoSync);
#endif
#if defined(__SANITIZE_ADDRESS__)
    void* fake = nullptr;
    __sanitizer_start_switch_fiber(&fake, stack_.get(), kStack);
#endif
    swapcontext(&outside_, &inside_);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
  }

  // From inside: back to where resume was called.
  void suspend() {
#if defined(__SANITIZE_THREAD__)
    __tsan_switch_to_fiber(outside_thread_, kNoSync);
#endif
#if defined(__SANITIZE_ADDRESS__)
    void* fake = nullptr;
    __sanitizer_start_switch_fiber(&fake, outside_bottom_, outside_size_);
#endif
    swapcontext(&inside_, &outside_);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fake, &outside_bottom_, &outside_size_);
#endif
  }

 private:
  static constexpr std::size_t kStack = 128 << 10;
  [[maybe_unused]] static constexpr unsigned kNoSync = 1;

  static void enter() {
    Fiber* fiber = running_;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &fiber->outside_bottom_, &fiber->outside_size_);
#endif
    ignore_begin();  // for good: what runs here is the emulator, until it calls a kernel
    for (;;) {
      fiber->body_();
      fiber->suspend();
    }
  }

  static inline Fiber* running_ = nullptr;
  std::unique_ptr<char[]> stack_;
  void (*body_)();
  ucontext_t inside_, outside_;
  [[maybe_unused]] void *thread_ = nullptr, *outside_thread_ = nullptr;
  [[maybe_unused]] const void* outside_bottom_ = nullptr;
  [[maybe_unused]] std::size_t outside_size_ = 0;
};

}  // namespace emulator
