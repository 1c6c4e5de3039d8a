// xoshiro256** seeded by splitmix64: the same stream on every platform, which the standard distributions do not
// promise. D. Blackman and S. Vigna, "Scrambled linear pseudorandom number generators", doi:10.1145/3460772.
#pragma once

#include <cstdint>

namespace tomolearn::simulation {

class Random {
 public:
  explicit Random(uint64_t seed) {
    for (uint64_t& word : state_) {
      seed += 0x9e3779b97f4a7c15u;
      uint64_t z = seed;
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
      z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
      word = z ^ (z >> 31);
    }
  }

  // Uniform in [0, 1), all 53 bits of the mantissa.
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }

  // Uniform in [-half, half).
  double uniform_about_zero(double half) { return (2 * uniform() - 1) * half; }

 private:
  uint64_t next() {
    const uint64_t result = rotate(state_[1] * 5, 7) * 9;
    const uint64_t t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = rotate(state_[3], 45);
    return result;
  }

  static uint64_t rotate(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

  uint64_t state_[4];
};

}  // namespace tomolearn::simulation
