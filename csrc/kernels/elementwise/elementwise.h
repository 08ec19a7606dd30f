// Operators that go element by element over row-major values of any rank; where there are several inputs they are broadcast as numpy does.
// The output may be an input that has its shape and type.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/arch.h"
#include "base/thread_pool.h"
#include "kernels/elementwise/params.h"

namespace niwaki {

// What a row of kernels.inc has. All go over elements that lie together, or over a block of rows of such (BlockSize).
struct ElementwiseKernel {
  const char* name;
  Isa isa;
  void (*unary)(const UnaryParams& params, const void* in, void* out, int64_t count);
  bool (*binary)(BinaryFunction function, ElementType type, const OperandRows& a, const OperandRows& b, void* out,
                 const BlockSize& size);
  void (*where)(ElementType type, const OperandRows& condition, const OperandRows& a, const OperandRows& b, void* out,
                const BlockSize& size);
  void (*cast)(ElementType from, ElementType to, const void* in, void* out, int64_t count);
  // Of elements `first` to `first + count` of the value.
  void (*affine)(const AffineParams& params, const float* in, float* out, int64_t first, int64_t count);
};

std::span<const ElementwiseKernel> elementwise_kernels();  // the rows that this build has, the scalar reference first
const ElementwiseKernel& select_elementwise(Isa isa);      // the best row that runs on `isa`

// By the names of unary_functions.inc and binary_functions.inc.
std::optional<UnaryFunction> find_unary(std::string_view name);
std::optional<BinaryFunction> find_binary(std::string_view name);
int64_t bytes_of(ElementType type);

// A nest of loops over an output and up to three inputs that are broadcast to it, with as few axes as they allow; at least two, the last one
// being the columns of a block, the one before it its rows. Steps are counted in elements; that of the last axis is 0 or 1.
struct Nest {
  struct Axis {
    int64_t size;
    std::array<int64_t, 3> steps;
  };
  std::vector<Axis> axes;

  static Nest of(std::span<const int64_t> out, std::span<const std::span<const int64_t>> inputs);
  int64_t rows() const;  // of all blocks
};

void unary(const ElementwiseKernel& kernel, const UnaryParams& params, const void* in, void* out, int64_t count,
           ThreadPool& pool);

// False where an integer was divided by zero: the output is then not to be used.
bool binary(const ElementwiseKernel& kernel, BinaryFunction function, ElementType type, const Nest& nest, const void* a,
            const void* b, void* out, ThreadPool& pool);

void where(const ElementwiseKernel& kernel, ElementType type, const Nest& nest, const void* condition, const void* a,
           const void* b, void* out, ThreadPool& pool);

// float32 to integers truncates; what does not fit becomes the lowest one, as on x86 in torch, and int64 to int32 keeps the low bits.
void cast(const ElementwiseKernel& kernel, ElementType from, ElementType to, const void* in, void* out, int64_t count,
          ThreadPool& pool);

// y = x * gain + shift, a product and a sum, by the channel of each element.
void channel_affine(const ElementwiseKernel& kernel, const AffineParams& params, const float* in, float* out, int64_t count,
                    ThreadPool& pool);

}  // namespace niwaki
