// Pools of float32 over one to three axes.
//
// A sum has a fixed order, so all instruction sets give the same bits. A window of a pool adds its taps in row-major order, from 0 on;
// what lies in the padding is 0. A window of an adaptive pool has sixteen sums: element x of each of its rows goes to sum x % 16; they are
// added as in lanes16.h. The average is the sum over the count. A maximum is NaN where an element is.
#pragma once

#include <cstdint>
#include <span>

#include "base/arch.h"
#include "base/thread_pool.h"
#include "kernels/common/window_rows.h"
#include "kernels/float_pool/params.h"

namespace niwaki {

struct FloatPoolKernel {
  const char* name;
  Isa isa;
  void (*max_row)(const TapRow&);
  void (*average_row)(const TapRow&);
  float (*max_region)(const Region&);
  float (*sum_region)(const Region&);
};

std::span<const FloatPoolKernel> float_pool_kernels();
const FloatPoolKernel& select_float_pool(Isa isa);

enum class PoolFunction : uint8_t { max, average };

struct FloatPoolParams {
  PoolFunction function;
  WindowAxes axes;
  Axes3 behind;            // padding behind each axis; a last window may reach beyond it (ceil_mode)
  bool count_include_pad;  // an average counts the padding, though not what lies beyond
  int64_t divisor;         // of all averages; 0: the count
};

// A pool at given sizes.
class FloatPool {
 public:
  explicit FloatPool(const FloatPoolParams& params);

  int64_t scratch_bytes() const;  // for each thread

  // in: [planes, axes.in]; out: [planes, axes.out]. Thread t works in scratch + t * scratch_step, 64-byte aligned.
  void run(const FloatPoolKernel& kernel, const float* in, float* out, int64_t planes, uint8_t* scratch, int64_t scratch_step,
           ThreadPool& pool) const;

 private:
  int64_t divisor_bytes() const;
  // What the averages of a row of outputs are divided by; index: its first output in the plane.
  void find_divisors(int64_t index, float* divisors) const;
  int64_t counted(std::size_t axis, int64_t i) const;

  FloatPoolParams params_;
  WindowRows rows_;
};

// Window i of `out` ones covers elements floor(i * in / out) to ceil((i + 1) * in / out).
void float_adaptive_pool(const FloatPoolKernel& kernel, PoolFunction function, const float* in, float* out, int64_t planes,
                         const Axes3& in_sizes, const Axes3& out_sizes, ThreadPool& pool);

}  // namespace niwaki
