#include "kernels/rows/rows.h"

#include <algorithm>
#include <limits>

#include "kernels/common/partition.h"
#include "kernels/common/select.h"

namespace niwaki {

#define NIWAKI_ROWS(name, isa)                                                                                 \
  namespace rows_##name {                                                                                      \
    void reduce_rows(const ReduceParams& params, const float* in, int64_t row_step, int64_t rows, float* out); \
    void reduce_columns(const ReduceParams& params, const float* in, int64_t columns, float* out);             \
    void softmax_row(const float* in, float* out, int64_t count, bool log);                                    \
    void softmax_columns(const float* in, float* out, int64_t count, int64_t step, int64_t columns, bool log); \
    void normalize(const NormParams& params, int64_t rows, const float* in, float* out);                       \
  }
#include "kernels/rows/kernels.inc"
#undef NIWAKI_ROWS

std::span<const RowsKernel> rows_kernels() {
  static constexpr RowsKernel rows[] = {
#define NIWAKI_ROWS(name, isa)   \
  {#name,                        \
   isa,                          \
   rows_##name::reduce_rows,     \
   rows_##name::reduce_columns,  \
   rows_##name::softmax_row,     \
   rows_##name::softmax_columns, \
   rows_##name::normalize},
#include "kernels/rows/kernels.inc"
#undef NIWAKI_ROWS
  };
  return rows;
}

const RowsKernel& select_rows(Isa isa) { return select_kernel(rows_kernels(), isa); }

Reduction Reduction::of(std::span<const int64_t> sizes, std::span<const int64_t> gone) {
  Reduction reduction;
  int64_t step = 1;
  for (auto axis = static_cast<int64_t>(sizes.size()) - 1; axis >= 0; --axis) {
    const int64_t size = sizes[static_cast<size_t>(axis)];
    const bool goes = gone.empty() || std::ranges::find(gone, axis) != gone.end();
    (goes ? reduction.count : reduction.outputs) *= size;
    if (size != 1) {
      auto& axes = reduction.axes;
      if (!axes.empty() && axes.back().gone == goes) axes.back().size *= size;
      else axes.push_back({size, step, goes});
    }
    step *= size;
  }
  std::ranges::reverse(reduction.axes);
  return reduction;
}

Walk Reduction::walk(bool gone, size_t but_last) const {
  Walk walk;
  for (size_t i = 0; i + but_last < axes.size(); ++i) {
    if (axes[i].gone != gone) continue;
    walk.size[walk.axes] = axes[i].size;
    walk.step[walk.axes++] = axes[i].step;
  }
  return walk;
}

AxisView AxisView::of(std::span<const int64_t> sizes, int64_t axis) {
  AxisView view{1, sizes[static_cast<size_t>(axis)], 1};
  for (int64_t i = 0; i < axis; ++i) view.outer *= sizes[static_cast<size_t>(i)];
  for (auto i = static_cast<size_t>(axis) + 1; i < sizes.size(); ++i) view.inner *= sizes[i];
  return view;
}

int64_t place(const Walk& walk, int64_t index) {
  int64_t at = 0;
  for (int axis = walk.axes - 1; axis >= 0; index /= walk.size[axis--]) at += index % walk.size[axis] * walk.step[axis];
  return at;
}

namespace {

float of_nothing(ReduceFunction function) {
  switch (function) {
    case ReduceFunction::prod: return 1.0f;
    case ReduceFunction::mean:
    case ReduceFunction::var: return std::numeric_limits<float>::quiet_NaN();
    default: return 0.0f;
  }
}

}  // namespace

void reduce(const RowsKernel& kernel, ReduceFunction function, double correction, const Reduction& reduction, const float* in,
            float* out, ThreadPool& pool) {
  const int64_t count = reduction.count;
  if (reduction.outputs == 0) return;
  if (count == 0) {
    std::fill_n(out, reduction.outputs, of_nothing(function));
    return;
  }
  const float divisor = static_cast<float>(std::max(0.0, static_cast<double>(count) - correction));
  ReduceParams params{function, {}, 1, count, divisor};
  if (reduction.last_is_gone()) {
    params.walk = reduction.walk(true, 1);
    params.run = reduction.axes.back().size;
    const Walk kept = reduction.walk(false);
    const int64_t rows = kept.axes > 0 ? kept.size[kept.axes - 1] : 1, step = kept.axes > 0 ? kept.step[kept.axes - 1] : 0;
    for_each_part(reduction.outputs, 1, count * int64_t{sizeof(float)}, pool, [&](int64_t begin, int64_t end, int64_t, int64_t) {
      for (int64_t at = begin; at < end;) {  // rows of the last kept axis together
        const int64_t some = std::min(end - at, rows - at % rows);
        kernel.reduce_rows(params, in + place(kept, at), step, some, out + at);
        at += some;
      }
    });
  } else {
    params.walk = reduction.walk(true);
    const Walk kept = reduction.walk(false, 1);
    const int64_t columns = reduction.axes.empty() ? 1 : reduction.axes.back().size;
    for_each_part(reduction.outputs / columns, columns, count * int64_t{sizeof(float)}, pool,
                  [&](int64_t begin, int64_t end, int64_t first, int64_t last) {
                    for (int64_t at = begin; at < end; ++at)
                      kernel.reduce_columns(params, in + place(kept, at) + first, last - first, out + at * columns + first);
                  });
  }
}

void softmax(const RowsKernel& kernel, const AxisView& view, bool log, const float* in, float* out, ThreadPool& pool) {
  constexpr int64_t kVector = 16;
  const int64_t size = view.count * view.inner;
  if (size == 0) return;
  if (view.inner == 1)
    return for_each_part(view.outer, 1, size * int64_t{sizeof(float)}, pool, [&](int64_t begin, int64_t end, int64_t, int64_t) {
      for (int64_t row = begin; row < end; ++row) kernel.softmax_row(in + row * size, out + row * size, size, log);
    });
  for_each_part(view.outer, div_up(view.inner, kVector), view.count * kVector * int64_t{sizeof(float)}, pool,
                [&](int64_t begin, int64_t end, int64_t first, int64_t last) {
                  const int64_t columns = std::min(last * kVector, view.inner) - first * kVector;
                  for (int64_t i = begin; i < end; ++i)
                    kernel.softmax_columns(in + i * size + first * kVector, out + i * size + first * kVector, view.count,
                                           view.inner, columns, log);
                });
}

void normalize(const RowsKernel& kernel, const NormParams& params, int64_t rows, const float* in, float* out, ThreadPool& pool) {
  for_each_part(rows, 1, params.count * int64_t{sizeof(float)}, pool, [&](int64_t begin, int64_t end, int64_t, int64_t) {
    kernel.normalize(params, end - begin, in + begin * params.count, out + begin * params.count);
  });
}

void group_norm(const RowsKernel& kernel, const NormParams& params, int64_t images, int64_t channels, int64_t groups,
                const float* in, float* out, ThreadPool& pool) {
  for_each_part(images * groups, 1, params.count * int64_t{sizeof(float)}, pool,
                [&](int64_t begin, int64_t end, int64_t, int64_t) {
                  for (int64_t row = begin; row < end; ++row) {
                    const int64_t first = row % groups * (channels / groups);
                    NormParams own = params;
                    if (own.weight != nullptr) own.weight += first;
                    if (own.bias != nullptr) own.bias += first;
                    kernel.normalize(own, 1, in + row * params.count, out + row * params.count);
                  }
                });
}

}  // namespace niwaki
