// Rows times the weights of a recurrent layer, in float32 or in int8.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/arch.h"
#include "base/thread_pool.h"
#include "kernels/conv/conv.h"

namespace niwaki {

// out[r][o] = bias[o] + sum of in[r][i] * weight[o][i]. Immutable: sessions and threads share it.
class RowProduct {
 public:
  virtual ~RowProduct() = default;

  virtual int64_t inputs() const = 0;
  virtual int64_t outputs() const = 0;
  virtual int64_t bytes() const = 0;
  virtual bool sparse() const { return false; }  // whether zeros cost nothing

  // Bytes for each thread.
  virtual int64_t scratch_bytes(int64_t rows, int threads) const = 0;
  virtual int64_t most_scratch_bytes(int64_t rows, int threads) const = 0;  // for any number of rows up to it

  // in: [rows, inputs], out: [rows, outputs]. scratch: pool.threads() * scratch_bytes, 64-byte aligned.
  virtual void run(const float* in, float* out, int64_t rows, uint8_t* scratch, ThreadPool& pool) const = 0;
};

// A matrix as a file has it: float32, or int8 with a scale for each row. One of the first two is null.
struct RowWeights {
  const float* floats;  // [outputs, inputs]
  const int8_t* bytes;  // [outputs, inputs]
  const float* scale;   // [outputs], of int8
  int64_t outputs, inputs;
};

// bias: [outputs], or empty. order: which row of the weights (and of the bias) makes an output; -1: none, the output is 0. dynamic: rows are
// quantized by their own ranges (kernels/dynamic_linear), of int8 weights alone; else the product is one of float32, each sum in the order of
// the inputs. expected_rows, kind: choose between kernels, change no result.
std::unique_ptr<RowProduct> make_row_product(const RowWeights& weights, const std::vector<float>& bias,
                                             const std::vector<int64_t>& order, bool dynamic, int64_t expected_rows, Isa isa,
                                             ConvKind kind);

}  // namespace niwaki
