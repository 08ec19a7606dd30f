// Operators along axes of row-major float32 values: reduce, softmax and the norms. Sums are made in the one order of lanes16.h, row by row, so
// neither threads nor instruction sets change them. What is not float32, and what goes along an axis in order: plain.h.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "base/arch.h"
#include "base/thread_pool.h"
#include "kernels/rows/params.h"

namespace niwaki {

struct RowsKernel {
  const char* name;
  Isa isa;
  // Over the last axis, and perhaps others: one output for each of `rows` rows that begin row_step elements apart.
  void (*reduce_rows)(const ReduceParams& params, const float* in, int64_t row_step, int64_t rows, float* out);
  // Over other axes than the last one: one output for each of `columns` columns side by side. run is 1.
  void (*reduce_columns)(const ReduceParams& params, const float* in, int64_t columns, float* out);
  void (*softmax_row)(const float* in, float* out, int64_t count, bool log);
  // `count` elements `step` apart, for each of `columns` columns side by side.
  void (*softmax_columns)(const float* in, float* out, int64_t count, int64_t step, int64_t columns, bool log);
  void (*normalize)(const NormParams& params, int64_t rows, const float* in, float* out);
};

std::span<const RowsKernel> rows_kernels();  // the rows that this build has, the scalar reference first
const RowsKernel& select_rows(Isa isa);      // the best row that runs on `isa`

// A value of the given sizes, some axes of which go: kept and gone axes, each kind joined where it lies side by side. Sizes of 1 are left out.
struct Reduction {
  struct Axis {
    int64_t size, step;
    bool gone;
  };
  std::vector<Axis> axes;  // no two neighbours of one kind
  int64_t outputs = 1;     // elements of the result
  int64_t count = 1;       // elements that become one

  static Reduction of(std::span<const int64_t> sizes, std::span<const int64_t> gone);  // axes counted from the front
  bool last_is_gone() const { return !axes.empty() && axes.back().gone; }
  Walk walk(bool gone, size_t but_last = 0) const;  // along the axes of one kind, without the last ones
};

// Where place number `index` of a walk is.
int64_t place(const Walk& walk, int64_t index);

// correction: var divides by count - correction. Of no elements sum and norms are 0, prod is 1, mean and var NaN; max and min have none: count
// must not be 0.
void reduce(const RowsKernel& kernel, ReduceFunction function, double correction, const Reduction& reduction, const float* in,
            float* out, ThreadPool& pool);

// A value as outer x count x inner, the axis in the middle. `out` may be `in`.
struct AxisView {
  int64_t outer, count, inner;
  static AxisView of(std::span<const int64_t> sizes, int64_t axis);  // axis: counted from the front
};

void softmax(const RowsKernel& kernel, const AxisView& view, bool log, const float* in, float* out, ThreadPool& pool);

// Rows of params.count elements. `out` may be `in`.
void normalize(const RowsKernel& kernel, const NormParams& params, int64_t rows, const float* in, float* out, ThreadPool& pool);

// [images, channels, inner]: each group of channels of an image is a row, and params.weight and bias have an element for each channel.
void group_norm(const RowsKernel& kernel, const NormParams& params, int64_t images, int64_t channels, int64_t groups,
                const float* in, float* out, ThreadPool& pool);

}  // namespace niwaki
