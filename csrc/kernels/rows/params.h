// What the kernels of rows take. Apart from rows.h because files of one instruction set include no header with code in it.
#pragma once

#include <stdint.h>

namespace niwaki {

enum class ReduceFunction : uint8_t { sum, mean, max, min, prod, norm2, sum_abs, var };

// Places in memory that loops inside each other go to, the last axis innermost. Steps are counted in elements. No axis: one place.
struct Walk {
  static constexpr int kMostAxes = 8;
  int axes = 0;
  int64_t size[kMostAxes] = {}, step[kMostAxes] = {};
};

// The elements that become one, numbered 0 to count - 1 in row-major order: where `walk` goes there are `run` of them side by side.
// Element i goes into partial sum i % 16 (lanes16.h).
struct ReduceParams {
  ReduceFunction function;
  Walk walk;
  int64_t run;
  int64_t count;  // places of the walk times run, at least 1
  float divisor;  // of var
};

// out = (x - mean) / sqrt(variance + eps) * weight + bias over `count` elements; without mean and bias, and with the mean of the squares in
// place of the variance, for RMS norm.
struct NormParams {
  const float *weight, *bias;  // may be null
  int64_t count;
  int64_t inner;  // elements that share a weight and a bias; 1: each has its own
  float eps;
  bool centered;  // false: RMS norm
};

}  // namespace niwaki
