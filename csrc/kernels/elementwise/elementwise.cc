#include "kernels/elementwise/elementwise.h"

#include <algorithm>
#include <atomic>

#include "kernels/common/partition.h"
#include "kernels/common/select.h"

namespace niwaki {

#define NIWAKI_ELEMENTWISE(name, isa)                                                                                 \
  namespace elementwise_##name {                                                                                      \
    void unary(const UnaryParams& params, const void* in, void* out, int64_t count);                                  \
    bool binary(BinaryFunction function, ElementType type, const OperandRows& a, const OperandRows& b, void* out,     \
                const BlockSize& size);                                                                               \
    void where(ElementType type, const OperandRows& condition, const OperandRows& a, const OperandRows& b, void* out, \
               const BlockSize& size);                                                                                \
    void cast(ElementType from, ElementType to, const void* in, void* out, int64_t count);                            \
    void affine(const AffineParams& params, const float* in, float* out, int64_t first, int64_t count);               \
  }
#include "kernels/elementwise/kernels.inc"
#undef NIWAKI_ELEMENTWISE

std::span<const ElementwiseKernel> elementwise_kernels() {
  static constexpr ElementwiseKernel rows[] = {
#define NIWAKI_ELEMENTWISE(name, isa) \
  {#name,                             \
   isa,                               \
   elementwise_##name::unary,         \
   elementwise_##name::binary,        \
   elementwise_##name::where,         \
   elementwise_##name::cast,          \
   elementwise_##name::affine},
#include "kernels/elementwise/kernels.inc"
#undef NIWAKI_ELEMENTWISE
  };
  return rows;
}

const ElementwiseKernel& select_elementwise(Isa isa) { return select_kernel(elementwise_kernels(), isa); }

std::optional<UnaryFunction> find_unary(std::string_view name) {
#define NIWAKI_FLOAT(function, expression) \
  if (name == #function) return UnaryFunction::function;
#define NIWAKI_ASK NIWAKI_FLOAT
#define NIWAKI_INTEGER(function, expression)
#include "kernels/elementwise/unary_functions.inc"
#undef NIWAKI_FLOAT
#undef NIWAKI_ASK
#undef NIWAKI_INTEGER
  if (name == "logical_not") return UnaryFunction::logical_not;
  return std::nullopt;
}

std::optional<BinaryFunction> find_binary(std::string_view name) {
#define NIWAKI_FLOAT(function, expression) \
  if (name == #function) return BinaryFunction::function;
#define NIWAKI_COMPARE(function) NIWAKI_FLOAT(function, )
#define NIWAKI_BOOL NIWAKI_FLOAT
#define NIWAKI_INTEGER(function, expression)
#include "kernels/elementwise/binary_functions.inc"
#undef NIWAKI_FLOAT
#undef NIWAKI_COMPARE
#undef NIWAKI_BOOL
#undef NIWAKI_INTEGER
  return std::nullopt;
}

int64_t bytes_of(ElementType type) {
  switch (type) {
    case ElementType::i64: return 8;
    case ElementType::boolean:
    case ElementType::u8:
    case ElementType::i8: return 1;
    default: return 4;
  }
}

Nest Nest::of(std::span<const int64_t> out, std::span<const std::span<const int64_t>> inputs) {
  Nest nest;
  // From the last axis on: an axis joins the one behind it where every input goes on in both or stays in both.
  std::array<int64_t, 3> elements = {1, 1, 1};  // of each input, behind this axis
  for (size_t back = 1; back <= out.size(); ++back) {
    Axis axis{out[out.size() - back], {}};
    for (size_t i = 0; i < inputs.size(); ++i) {
      const int64_t size = back <= inputs[i].size() ? inputs[i][inputs[i].size() - back] : 1;
      axis.steps[i] = size == 1 ? 0 : elements[i];
      elements[i] *= size;
    }
    if (axis.size == 1) continue;
    bool joins = !nest.axes.empty();
    for (size_t i = 0; joins && i < inputs.size(); ++i)
      joins = axis.steps[i] == nest.axes.back().steps[i] * nest.axes.back().size;
    if (joins) nest.axes.back().size *= axis.size;
    else nest.axes.push_back(axis);
  }
  while (nest.axes.size() < 2) nest.axes.push_back({1, {}});
  std::reverse(nest.axes.begin(), nest.axes.end());
  return nest;
}

int64_t Nest::rows() const {
  int64_t count = 1;
  for (size_t i = 0; i + 1 < axes.size(); ++i) count *= axes[i].size;
  return count;
}

namespace {

// Elements of a flat loop that a task takes at least are a multiple of these, so that tasks begin where cache lines do.
constexpr int64_t kLine = 64;

// function(first element, how many) over parts of `count` elements of `bytes` bytes.
template <typename Function>
void for_each_stretch(int64_t count, int64_t bytes, ThreadPool& pool, const Function& function) {
  for_each_part(div_up(count, kLine), 1, kLine * bytes, pool, [&](int64_t begin, int64_t end, int64_t, int64_t) {
    function(begin * kLine, std::min(end * kLine, count) - begin * kLine);
  });
}

// function(rows of each input, first element of the output, BlockSize) over blocks of the nest.
template <size_t kInputs, typename Function>
void for_each_block(const Nest& nest, const std::array<const void*, kInputs>& inputs, const std::array<int64_t, kInputs>& bytes,
                    int64_t out_bytes, ThreadPool& pool, const Function& function) {
  const Nest::Axis &row_axis = nest.axes[nest.axes.size() - 2], &column_axis = nest.axes.back();
  const size_t outer = nest.axes.size() - 2;
  const int64_t columns = column_axis.size;
  for_each_part(nest.rows(), columns, out_bytes, pool, [&](int64_t begin, int64_t end, int64_t first, int64_t last) {
    for (int64_t row = begin; row < end;) {
      const int64_t inside = row % row_axis.size, rows = std::min(row_axis.size - inside, end - row);
      std::array<OperandRows, kInputs> operands;
      for (size_t i = 0; i < kInputs; ++i) {
        int64_t at = inside * row_axis.steps[i] + first * column_axis.steps[i], index = row / row_axis.size;
        for (size_t axis = outer; axis-- > 0; index /= nest.axes[axis].size)
          at += index % nest.axes[axis].size * nest.axes[axis].steps[i];
        operands[i] = {static_cast<const uint8_t*>(inputs[i]) + at * bytes[i], row_axis.steps[i], column_axis.steps[i] == 0};
      }
      function(operands, row * columns + first, BlockSize{rows, last - first, columns});
      row += rows;
    }
  });
}

const void* moved(const void* data, int64_t bytes) { return static_cast<const uint8_t*>(data) + bytes; }
void* moved(void* data, int64_t bytes) { return static_cast<uint8_t*>(data) + bytes; }

}  // namespace

void unary(const ElementwiseKernel& kernel, const UnaryParams& params, const void* in, void* out, int64_t count,
           ThreadPool& pool) {
  const bool asks = UnaryFunction::isnan <= params.function && params.function <= UnaryFunction::isfinite;
  const int64_t bytes = bytes_of(params.type), out_bytes = asks ? 1 : bytes;
  for_each_stretch(count, bytes, pool, [&](int64_t first, int64_t some) {
    kernel.unary(params, moved(in, first * bytes), moved(out, first * out_bytes), some);
  });
}

bool binary(const ElementwiseKernel& kernel, BinaryFunction function, ElementType type, const Nest& nest, const void* a,
            const void* b, void* out, ThreadPool& pool) {
  const bool compares = BinaryFunction::eq <= function && function <= BinaryFunction::ge;
  const int64_t bytes = bytes_of(type), out_bytes = compares ? 1 : bytes;
  std::atomic<bool> good = true;
  for_each_block<2>(nest, {a, b}, {bytes, bytes}, bytes, pool, [&](const auto& in, int64_t first, const BlockSize& size) {
    if (!kernel.binary(function, type, in[0], in[1], moved(out, first * out_bytes), size)) good = false;
  });
  return good;
}

void where(const ElementwiseKernel& kernel, ElementType type, const Nest& nest, const void* condition, const void* a,
           const void* b, void* out, ThreadPool& pool) {
  const int64_t bytes = bytes_of(type);
  for_each_block<3>(nest, {condition, a, b}, {1, bytes, bytes}, bytes, pool,
                    [&](const auto& in, int64_t first, const BlockSize& size) {
                      kernel.where(type, in[0], in[1], in[2], moved(out, first * bytes), size);
                    });
}

namespace {

// From int8, which is rare: one way for all instruction sets. Its bits are those of the uint8 it wraps to.
void cast_signed(const ElementwiseKernel& kernel, ElementType to, const int8_t* in, void* out, int64_t count) {
  const auto each = [&](auto* y) {
    for (int64_t i = 0; i < count; ++i) y[i] = in[i];
  };
  switch (to) {
    case ElementType::f32: return each(static_cast<float*>(out));
    case ElementType::i64: return each(static_cast<int64_t*>(out));
    case ElementType::i32: return each(static_cast<int32_t*>(out));
    default: return kernel.cast(ElementType::u8, to, in, out, count);
  }
}

}  // namespace

void cast(const ElementwiseKernel& kernel, ElementType from, ElementType to, const void* in, void* out, int64_t count,
          ThreadPool& pool) {
  const int64_t in_bytes = bytes_of(from), out_bytes = bytes_of(to);
  for_each_stretch(count, std::max(in_bytes, out_bytes), pool, [&](int64_t first, int64_t some) {
    const void* x = moved(in, first * in_bytes);
    void* y = moved(out, first * out_bytes);
    if (from == ElementType::i8) cast_signed(kernel, to, static_cast<const int8_t*>(x), y, some);
    else kernel.cast(from, to, x, y, some);
  });
}

void channel_affine(const ElementwiseKernel& kernel, const AffineParams& params, const float* in, float* out, int64_t count,
                    ThreadPool& pool) {
  for_each_stretch(count, sizeof(float), pool, [&](int64_t first, int64_t some) { kernel.affine(params, in, out, first, some); });
}

}  // namespace niwaki
