// What the kernels of elementwise take. Apart from elementwise.h because files of one instruction set include no header with code in it.
#pragma once

#include <stdint.h>

namespace niwaki {

// boolean: a byte, 0 or 1. u8 and i8 are chosen by where and converted by cast, and are not computed with.
enum class ElementType : uint8_t { f32, i64, i32, boolean, u8, i8 };

enum class UnaryFunction : uint8_t {
#define NIWAKI_FLOAT(name, expression) name,
#define NIWAKI_ASK(name, expression) name,
#define NIWAKI_INTEGER(name, expression)
#include "kernels/elementwise/unary_functions.inc"
#undef NIWAKI_FLOAT
#undef NIWAKI_ASK
#undef NIWAKI_INTEGER
  logical_not,
};

enum class BinaryFunction : uint8_t {
#define NIWAKI_FLOAT(name, expression) name,
#define NIWAKI_COMPARE(name) name,
#define NIWAKI_INTEGER(name, expression)
#define NIWAKI_BOOL(name, expression)
#include "kernels/elementwise/binary_functions.inc"
#undef NIWAKI_FLOAT
#undef NIWAKI_COMPARE
#undef NIWAKI_INTEGER
#undef NIWAKI_BOOL
  logical_and,
  logical_or,
  logical_xor,
};

struct UnaryParams {
  UnaryFunction function;
  ElementType type;   // of the input
  float alpha, beta;  // slope, threshold, bounds: see unary_functions.inc
  int64_t low, high;  // bounds of integers
};

// Rows of an operand that is broadcast: where the next row begins and whether a row is one element for all columns. Counted in elements.
struct OperandRows {
  const void* data;
  int64_t row_step;
  bool single;
};

struct BlockSize {
  int64_t rows, columns;
  int64_t out_row_step;
};

struct AffineParams {
  const float *gain, *shift;  // one for each channel
  int64_t channels;
  int64_t inner;  // elements of a channel that lie together
};

}  // namespace niwaki
