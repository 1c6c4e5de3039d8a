// What the shapes share: the scan, index ranges, and loops over threads that the user can interrupt.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <exception>
#include <functional>
#include <thread>
#include <vector>

namespace tomolearn::simulation {

// A parallel-beam scan. The ray of detector d under angle k crosses the image at the signed distance
// (d - center[k]) * spacing from the rotation axis; lengths are pixels.
struct Scan {
  const double* angles;
  int64_t n_angles;
  const double* centers;  // n_angles of them; where slices differ, n_angles for each slice
  bool centers_per_slice;
  int64_t n_detectors;
  double spacing;

  double center(int64_t slice, int64_t angle) const {
    return centers[(centers_per_slice ? slice : 0) * n_angles + angle];
  }
};

// Indices [first, last] within [0, n) that an interval of real coordinates covers; first > last where it covers none.
struct Range {
  int64_t first, last;
  Range(double low, double high, int64_t n)
      // Clamped while still real: far outside the array the coordinates do not fit an integer.
      : first(static_cast<int64_t>(std::ceil(std::clamp(low, 0.0, static_cast<double>(n))))),
        last(static_cast<int64_t>(std::floor(std::clamp(high, -1.0, static_cast<double>(n - 1))))) {}
};

// Runs the given check now and then. The check may throw: that is how Ctrl-C ends a long call.
class Poll {
 public:
  explicit Poll(std::function<void()> check) : check_(std::move(check)) {}
  void operator()() {
    const auto now = std::chrono::steady_clock::now();
    if (now - last_ < std::chrono::milliseconds(50)) return;
    last_ = now;
    check_();
  }

 private:
  std::function<void()> check_;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

// body(i) for every i in [0, n), on up to n_threads threads with the caller's among them. Items must not share what
// they write: then the result does not depend on the number of threads. The first exception ends the loop and is
// rethrown.
template <class Body>
void parallel_for(int64_t n, int n_threads, Poll& poll, const Body& body) {
  std::atomic<int64_t> next{0};
  std::atomic<bool> failed{false};
  std::exception_ptr error;
  auto work = [&](bool caller) {
    try {
      for (int64_t i; !failed && (i = next++) < n;) {
        body(i);
        if (caller) poll();
      }
    } catch (...) {
      if (!failed.exchange(true)) error = std::current_exception();
    }
  };
  std::vector<std::thread> helpers;
  try {
    for (int64_t i = 1; i < std::min<int64_t>(n_threads, n); i++) helpers.emplace_back(work, false);
  } catch (const std::exception&) {
    // The system gives no more threads: those that there are do the work.
  }
  work(true);
  for (std::thread& helper : helpers) helper.join();
  if (error) std::rethrow_exception(error);
}

}  // namespace tomolearn::simulation
